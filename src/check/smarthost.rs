//! One smarthost, step by step, as the sender would use it, until MAIL and RCPT.

use std::sync::Arc;
use std::time::Duration;

use super::replies::{of_certificate, of_end, of_reply, of_tls};
use super::watch::{Seen, Watch, facts_of, way_to};
use super::{Cause, LookOnly, Step, Steps, Wanted, names, ports};
use crate::config::Config;
use crate::fs::{Clock, Dir, Fs, SystemClock};
use crate::mail::{Dsn, Mailbox, Monotonic, ReversePath, Stage, UnixTime};
use crate::net::{
    ConnectError, ConnectFault, Connection, Endpoint, OpenError, TlsError, TlsFacts, TlsFault, Verify,
    not_after,
};
use crate::sender::{self, Lacks, Proof, SecretReader, Smarthost, Trouble};
use crate::service::sender_options;
use crate::smtp::{Answer, EndCause, SessionEnd, Timeouts, TlsMode, Transaction, Unsendable};

/// The most that a question is waited for that is only asked to find out why.
const PROBE: Duration = Duration::from_secs(2);
/// Octets of a message of which nothing is known.
const SIZE: u64 = 1024;

/// What they have in common.
pub(super) struct Check<'a> {
    config: &'a Config,
    pub(super) options: sender::Options,
    wanted: &'a Wanted,
    steps: &'a Arc<Steps>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) fs: Arc<dyn Fs>,
}

pub(super) async fn check_all(config: &Config, wanted: &Wanted, steps: &Arc<Steps>) {
    let check = Check::new(config, wanted, steps);
    for smarthost in check.smarthosts() {
        check.one(smarthost).await;
    }
}

impl<'a> Check<'a> {
    pub(super) fn new(config: &'a Config, wanted: &'a Wanted, steps: &'a Arc<Steps>) -> Check<'a> {
        Check {
            config,
            options: sender_options(config),
            wanted,
            steps,
            clock: Arc::new(SystemClock),
            fs: Arc::new(LookOnly::at(&config.spool_dir)),
        }
    }

    /// Each as the sender has it, but for its patience.
    fn smarthosts(&self) -> Vec<Smarthost> {
        let patient = self.options.smarthosts.iter().cloned();
        let hurried = |(configured, smarthost): (&crate::config::Smarthost, Smarthost)| {
            let timeouts = Timeouts::at_most(configured.timeout.min(self.wanted.within));
            Smarthost { timeouts, ..smarthost }
        };
        self.config.smarthosts.iter().zip(patient).map(hurried).collect()
    }

    pub(super) fn first(&self) -> Option<Smarthost> {
        self.smarthosts().into_iter().next()
    }

    pub(super) fn watch(&self, smarthost: &Smarthost) -> Arc<Watch> {
        let warn = smarthost.tls_warn;
        let may_end = smarthost.tls.verify == Verify::Opportunistic || !smarthost.tls.pins.is_empty();
        let clock = self.clock.clone();
        let judge = move |facts: &TlsFacts| tls_step(facts, clock.wall(), warn, may_end);
        Arc::new(Watch::new(&smarthost.name, self.steps.clone(), self.clock.clone(), Box::new(judge)))
    }
}

impl Check<'_> {
    async fn one(&self, mut smarthost: Smarthost) {
        let watch = self.watch(&smarthost);
        let may_log_in = match self.without_rotation(&mut smarthost).await {
            Ok(may) => may,
            Err(step) => return watch.add(step),
        };
        let opened = sender::look(&smarthost, &self.options, &self.clock, &self.fs, watch.clone()).await;
        match opened {
            Ok(connection) => self.on(connection, &smarthost, &watch, may_log_in).await,
            Err(trouble) => {
                for step in self.explain(&smarthost, &watch.seen(), &trouble).await {
                    watch.add(step);
                }
            }
        }
    }

    /// A refresh token has one owner: with it no token is asked for, and the one in force is used. False if there is none.
    pub(super) async fn without_rotation(&self, smarthost: &mut Smarthost) -> Result<bool, Step> {
        let Some(login) = &mut smarthost.login else { return Ok(true) };
        let Proof::OAuth(tokens) = &login.proof else { return Ok(true) };
        if !tokens.may_rotate() {
            return Ok(true);
        }
        match tokens.look(&*self.fs, &self.clock).await {
            Ok(Some(token)) => {
                let read: SecretReader = Arc::new(move || {
                    let token = token.clone();
                    Box::pin(async move { Ok(token) })
                });
                login.proof = Proof::Token(read);
                Ok(true)
            }
            Ok(None) => {
                smarthost.login = None;
                Ok(false)
            }
            Err(fault) => {
                Err(Step { hint: Some(fault.hint), ..Step::failed("login", Cause::NoToken, fault.cause) })
            }
        }
    }

    /// What is asked of a session that stands.
    async fn on(&self, mut connection: Connection, smarthost: &Smarthost, watch: &Watch, may_log_in: bool) {
        let seen = watch.seen();
        if connection.tls().is_none() && smarthost.tls_mode == TlsMode::StartTlsIfOffered {
            watch.add(Step::warn("tls", Cause::NotEncrypted, "the server offers no TLS that can be used"));
        }
        let largest = self.largest_waiting();
        watch.add(self.size_step(&connection, largest));
        let clock = self.clock.clone();
        let now = move || -> Monotonic { clock.monotonic() };
        if may_log_in {
            self.envelope(&mut connection, smarthost, watch, largest, &now).await;
        } else {
            watch.add(Step::warn("login", Cause::TokenNotTried, ""));
        }
        connection.quit(&now).await;
        self.ipv6(&seen, watch).await;
    }

    fn size_step(&self, connection: &Connection, largest: u64) -> Step {
        let limit = connection.extensions().size_limit();
        match (limit, self.config.limits.max_message_size) {
            (Some(limit), _) if largest > limit => {
                let evidence = format!("SIZE is {limit} octets, and one message that waits has {largest}");
                Step::failed("size", Cause::MessageTooLarge, evidence)
            }
            (Some(limit), Some(most)) if most > limit => {
                let evidence = format!("SIZE is {limit} octets, max_message_size in [spool] is {most}");
                Step::warn("size", Cause::MessageTooLarge, evidence)
            }
            (Some(limit), _) => Step::ok("size", format!("up to {limit} octets")),
            (None, _) => Step::ok("size", "the server tells no limit"),
        }
    }

    async fn envelope(
        &self,
        connection: &mut Connection,
        smarthost: &Smarthost,
        watch: &Watch,
        largest: u64,
        now: &(dyn Fn() -> Monotonic + Sync),
    ) {
        let configured = smarthost.from.clone().or_else(|| super::sender_of(self.config));
        let from: Option<Mailbox> = self.wanted.from.clone().or(configured);
        let fits = connection.extensions().size_limit().is_none_or(|limit| largest <= limit);
        let transaction = Transaction {
            reverse_path: from.clone().map_or(ReversePath::Null, ReversePath::Mailbox),
            forward_paths: self.wanted.to.iter().cloned().collect(),
            size: if fits { largest.max(SIZE) } else { SIZE },
            eight_bit: false,
            smtputf8: false,
            dsn: Dsn::default(),
            rcpt_dsn: Vec::new(),
            unconvertible: None,
        };
        watch.lap();
        let transcript = connection.probe(transaction, now).await;
        let setting = watch.seen().setting(is_by_token(smarthost));
        let shown = from.as_ref().map_or_else(|| "<>".to_owned(), |from| format!("<{from}>"));
        let mail = match (&transcript.mail, &transcript.lost) {
            (answer, _) if answer.is_completed() => {
                let note = match from {
                    Some(_) => "",
                    None => " (no sender is configured: each message brings its own; --from tries one)",
                };
                Step::ok("mail", format!("{shown} is taken{note}"))
            }
            (Answer::Reply(reply), _) => {
                let cause = of_reply(Stage::Mail, reply, setting);
                match from.is_none() && cause == Cause::SenderRefused {
                    // Some take no mail without a sender, and nobody sends any.
                    true => {
                        Step::ok("mail", format!("<> is not taken ({reply}); --from ADDRESS tries a sender"))
                    }
                    false => Step::failed("mail", cause, format!("{reply} in reply to MAIL FROM:{shown}")),
                }
            }
            (Answer::NotSent, None) => {
                let why = transcript.rcpts.first().unwrap_or(&Answer::NotSent);
                unanswered("rcpt", why, None, setting)
            }
            (answer, lost) => unanswered("mail", answer, lost.as_ref(), setting),
        };
        let goes_on = transcript.mail.is_completed();
        watch.add(mail);
        let Some(to) = self.wanted.to.as_ref().filter(|_| goes_on) else { return };
        let rcpt = match (transcript.rcpts.first(), &transcript.lost) {
            (Some(answer), _) if answer.is_completed() => Step::ok("rcpt", format!("<{to}> is taken")),
            (Some(Answer::Reply(reply)), _) => {
                let cause = of_reply(Stage::Rcpt, reply, setting);
                Step::failed("rcpt", cause, format!("{reply} in reply to RCPT TO:<{to}>"))
            }
            (answer, lost) => unanswered("rcpt", answer.unwrap_or(&Answer::NotSent), lost.as_ref(), setting),
        };
        watch.add(rcpt);
    }

    /// An address that IPv4 makes up for.
    async fn ipv6(&self, seen: &Seen, watch: &Watch) {
        let is_v4 = seen.peer.is_some_and(|peer| peer.is_ipv4());
        let six = seen.addresses.iter().find(|address| address.is_ipv6() && way_to(**address).is_some());
        let Some(&address) = six.filter(|_| is_v4) else { return };
        watch.lap();
        if !ports::answers(address, PROBE).await {
            watch.add(Step::warn("ipv6", Cause::Ipv6Broken, format!("{address} does not answer")));
        }
    }

    /// Octets of the largest message that waits.
    fn largest_waiting(&self) -> u64 {
        let mut names = Vec::new();
        // A spool that cannot be read is told of by a step of its own.
        drop(self.fs.list(Dir::Pending, &mut |name, _| names.push(name.to_owned())));
        let size = |name: &std::ffi::OsString| self.fs.stat(Dir::Pending, name).map_or(0, |stat| stat.size);
        names.iter().map(size).max().unwrap_or(0)
    }

    pub(super) async fn explain(&self, smarthost: &Smarthost, seen: &Seen, trouble: &Trouble) -> Vec<Step> {
        let said = trouble.cause.clone();
        match (trouble.lacks, &seen.error) {
            (Some(Lacks::Tls(fault)), _) => vec![Step::failed("tls", of_tls(fault), said)],
            (Some(Lacks::Password), _) => vec![Step::failed("login", Cause::PasswordUnreadable, said)],
            (Some(Lacks::Token), _) => {
                let step = Step::failed("login", Cause::NoToken, said);
                vec![Step { hint: Some(trouble.hint.clone()), ..step }]
            }
            (Some(Lacks::Login), _) => vec![Step::failed("login", Cause::LoginRequired, said)],
            (Some(Lacks::Hosts), _) => vec![Step::failed("tls", Cause::SpoolNotReadable, said)],
            (None, Some(OpenError::Connect(error))) => self.unconnected(seen, error).await,
            (None, Some(OpenError::Tls { endpoint, error, .. })) => {
                vec![self.without_tls(seen, endpoint, error).await]
            }
            (None, Some(OpenError::Session { end, .. })) => {
                vec![self.ended(smarthost, seen, end, trouble).await]
            }
            (None, None) => vec![Step::failed("port", Cause::SettingsMissing, said)],
        }
    }

    async fn unconnected(&self, seen: &Seen, error: &ConnectError) -> Vec<Step> {
        let said = error.to_string();
        let is_socket = error.endpoint.socket().is_some();
        let step = |step, cause| vec![Step::failed(step, cause, said.clone())];
        match error.kind {
            ConnectFault::Dns => names::explain(&error.endpoint.host, &said, self.probe_time()).await,
            ConnectFault::Refused if is_socket => step("port", Cause::SocketMissing),
            ConnectFault::Other | ConnectFault::Forbidden if is_socket => {
                step("port", Cause::ConnectionForbidden)
            }
            ConnectFault::Forbidden => step("route", Cause::ConnectionForbidden),
            ConnectFault::NoRoute => step("route", Cause::NoRoute),
            ConnectFault::HostUnreachable => step("route", Cause::HostUnreachable),
            ConnectFault::Refused => step("port", Cause::PortClosed),
            ConnectFault::Other => step("port", Cause::ConnectionLost),
            ConnectFault::TimedOut => {
                let other = match seen.address() {
                    Some(at) => ports::another_that_answers(at.ip(), at.port(), self.probe_time()).await,
                    None => None,
                };
                match other {
                    Some(other) => {
                        let evidence = format!("{said}; port {other} of that host answers");
                        vec![Step::failed("port", Cause::PortFiltered, evidence)]
                    }
                    None => step("port", Cause::HostSilent),
                }
            }
        }
    }

    async fn without_tls(&self, seen: &Seen, endpoint: &Endpoint, error: &TlsError) -> Step {
        let may_be_plain = endpoint.implicit && matches!(error.kind, TlsFault::NotTls | TlsFault::Link);
        if let Some(address) = seen.address().filter(|_| may_be_plain) {
            match ports::speaks(address, self.probe_time()).await {
                ports::Speaks::Smtp(line) => {
                    return Step::failed("tls", Cause::TlsToPlainPort, format!("the port says: {line}"));
                }
                ports::Speaks::Other(line) => {
                    return Step::failed("tls", Cause::NotSmtp, format!("the port says: {line}"));
                }
                ports::Speaks::Tls | ports::Speaks::Nothing => {}
            }
        }
        let evidence = match error.certificate.is_empty() {
            true => error.to_string(),
            false => format!("{error}; {}", facts_of(&error.certificate, self.clock.wall())),
        };
        Step::failed("tls", of_tls(error.kind), evidence)
    }

    async fn ended(&self, smarthost: &Smarthost, seen: &Seen, end: &SessionEnd, trouble: &Trouble) -> Step {
        let cause = of_end(end, seen.setting(is_by_token(smarthost)));
        let name = match end.stage {
            Stage::Greeting => "banner",
            Stage::Tls | Stage::StartTls => "tls",
            Stage::Ehlo => "ehlo",
            Stage::Auth => "login",
            _ => "session",
        };
        let is_unheard = end.stage == Stage::Greeting && !matches!(end.why, EndCause::Reply(_));
        if let Some(line) = seen.greeting.first().filter(|_| is_unheard) {
            return Step::failed(name, Cause::NotSmtp, format!("the port says: {line}"));
        }
        if let Some(address) = seen.address().filter(|_| is_unheard && !seen.inside_tls) {
            match ports::speaks(address, self.probe_time()).await {
                ports::Speaks::Tls => {
                    return Step::failed(
                        name,
                        Cause::PlainToTlsPort,
                        format!("{end}; to a TLS hello it answers"),
                    );
                }
                ports::Speaks::Other(line) => {
                    return Step::failed(name, Cause::NotSmtp, format!("the port says: {line}"));
                }
                ports::Speaks::Smtp(_) | ports::Speaks::Nothing => {}
            }
        }
        let step = Step::failed(name, cause, end.to_string());
        match cause {
            // It may have had TLS before: then somebody may have taken it away.
            Cause::StartTlsNotOffered if smarthost.tls_mode == TlsMode::StartTlsIfOffered => {
                Step { hint: Some(trouble.hint.clone()), ..step }
            }
            _ => step,
        }
    }

    fn probe_time(&self) -> Duration {
        PROBE.min(self.wanted.within)
    }
}

pub(super) fn is_by_token(smarthost: &Smarthost) -> bool {
    smarthost.login.as_ref().is_some_and(|login| matches!(login.proof, Proof::Token(_) | Proof::OAuth(_)))
}

/// A request without a reply.
pub(super) fn unanswered(
    name: &'static str,
    answer: &Answer,
    lost: Option<&SessionEnd>,
    setting: super::replies::Setting,
) -> Step {
    match (answer, lost) {
        (Answer::Unsendable(why @ Unsendable::TooLarge { .. }), _) => {
            Step::failed(name, Cause::MessageTooLarge, why.to_string())
        }
        (Answer::Unsendable(why), _) => Step::failed(name, Cause::AddressNotTaken, why.to_string()),
        (_, Some(end)) => Step::failed(name, of_end(end, setting), end.to_string()),
        (_, None) => Step::failed(name, Cause::ServerSilent, ""),
    }
}

/// TLS that stands: how good it is.
fn tls_step(facts: &TlsFacts, now: UnixTime, warn: Duration, may_end: bool) -> Step {
    let evidence = || facts_of(&facts.certificate, now);
    if let Some(problem) = &facts.problem {
        let said = format!("{problem}; {}", evidence());
        return Step::warn("tls", of_certificate(problem.fault), said);
    }
    let servers = not_after(&facts.certificate).filter(|_| !may_end);
    let ends_soon = |ends: &UnixTime| ends.as_secs() < now.as_secs() + warn.as_secs();
    let soon = [("the server's", servers), ("ours", facts.client_ends)];
    if let Some((whose, ends)) = soon.into_iter().find_map(|(w, e)| Some((w, e.filter(ends_soon)?))) {
        return Step::warn("tls", Cause::CertificateEndsSoon, format!("{whose} ends at {ends}"));
    }
    let ends =
        not_after(&facts.certificate).map_or_else(String::new, |ends| format!(", certificate until {ends}"));
    Step::ok("tls", format!("{}, {}{ends}", facts.version, facts.cipher_suite))
}
