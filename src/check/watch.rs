//! What is seen of a session while it is opened: the steps that are done, and what explains the one that is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::replies::Setting;
use super::{Step, Steps};
use crate::fs::Clock;
use crate::mail::{Monotonic, Stage};
use crate::net::{Endpoint, Heard, OpenError, TlsFacts, Witness, not_after};

/// Watches one smarthost.
pub(super) struct Watch {
    name: String,
    steps: Arc<Steps>,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
    /// How TLS is told: whether it is to be verified, and how long before its end a certificate is warned of.
    judge: Box<dyn Fn(&TlsFacts) -> Step + Send + Sync>,
}

/// What was seen of the connection that is being made, or was made last.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) inside_tls: bool,
    /// Lines of the greeting.
    pub(super) greeting: Vec<String>,
    /// Lines of the last reply to EHLO, without their codes.
    pub(super) offers: Vec<String>,
    pub(super) error: Option<OpenError>,
    /// The mechanism at work, and how it was refused.
    login: Option<(String, Option<String>)>,
    since: Monotonic,
}

impl Seen {
    pub(super) fn setting(&self, by_token: bool) -> Setting {
        let offers = |word: &str| {
            let is_it =
                |line: &String| line.split([' ', '=']).next().is_some_and(|w| w.eq_ignore_ascii_case(word));
            self.offers.iter().any(is_it)
        };
        Setting {
            inside_tls: self.inside_tls,
            offers_starttls: offers("STARTTLS"),
            offers_login: offers("AUTH"),
            by_token,
        }
    }

    /// Where it was tried, or would have been.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.peer.or_else(|| self.addresses.first().copied())
    }
}

impl Watch {
    pub(super) fn new(
        name: &str,
        steps: Arc<Steps>,
        clock: Arc<dyn Clock>,
        judge: Box<dyn Fn(&TlsFacts) -> Step + Send + Sync>,
    ) -> Watch {
        let seen = Mutex::new(Seen { since: clock.monotonic(), ..Seen::default() });
        Watch { name: name.to_owned(), steps, clock, seen, judge }
    }

    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step that has just ended; its time is that since the one before.
    pub(super) fn add(&self, step: Step) {
        let took = self.lap();
        self.steps.add(step.of(&self.name).took(took));
    }

    /// How long since the last step, which is over now.
    pub(super) fn lap(&self) -> Duration {
        let now = self.clock.monotonic();
        let mut seen = self.lock();
        let took = now - seen.since;
        seen.since = now;
        took
    }

    fn found(&self, endpoint: &Endpoint, addresses: &[SocketAddr]) {
        self.lock().addresses = addresses.to_vec();
        if endpoint.host.parse::<IpAddr>().is_err() {
            let list: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            self.add(Step::ok("name", format!("{} is {}", endpoint.host, list.join(", "))));
        }
        if let Some((to, from)) = addresses.iter().find_map(|to| Some((to, way_to(*to)?))) {
            self.add(Step::ok("route", format!("to {} from {from}", to.ip())));
        }
    }

    fn answered(&self, stage: Stage, line: &str) {
        let is_last = line.as_bytes().get(3) != Some(&b'-');
        let text = line.get(4..).unwrap_or_default().to_owned();
        let is_done = line.starts_with('2') && is_last;
        match stage {
            Stage::Greeting => {
                self.lock().greeting.push(line.to_owned());
                if is_done {
                    self.add(Step::ok("banner", line));
                }
            }
            Stage::Ehlo => {
                self.lock().offers.push(text);
                if is_done {
                    let offers = self.lock().offers.iter().skip(1).cloned().collect::<Vec<_>>().join(", ");
                    self.add(Step::ok("ehlo", offers));
                }
            }
            Stage::Auth if !line.starts_with('3') && is_last => {
                let login = self.lock().login.take();
                let Some((mechanism, _)) = login else { return };
                match is_done {
                    true => self.add(Step::ok("login", format!("{mechanism}: {line}"))),
                    false => self.lock().login = Some((mechanism, Some(line.to_owned()))),
                }
            }
            _ => {}
        }
    }

    /// A mechanism that was refused, with another behind it.
    fn passed_over(&self) {
        let login = self.lock().login.take();
        if let Some((mechanism, Some(refusal))) = login {
            self.add(Step::ok("login", format!("{mechanism} is not taken ({refusal}); the next is tried")));
        }
    }
}

impl Witness for Watch {
    fn hear(&self, heard: Heard<'_>) {
        match heard {
            Heard::Opening(endpoint) => {
                // The lock must be free again for the step.
                let before = self.lock().error.take();
                if let Some(error) = before {
                    self.add(Step::ok("port", format!("not there: {error}; another one is tried")));
                }
                let since = self.clock.monotonic();
                *self.lock() = Seen { endpoint: Some(endpoint.clone()), since, ..Seen::default() };
            }
            Heard::Addresses(addresses) => {
                let endpoint = self.lock().endpoint.clone();
                if let Some(endpoint) = endpoint {
                    self.found(&endpoint, addresses);
                }
            }
            Heard::Connected(peer) => {
                self.lock().peer = peer.to_string().parse().ok();
                self.add(Step::ok("port", format!("{peer} answers")));
            }
            Heard::Tls(facts) => {
                self.lock().inside_tls = true;
                self.add((self.judge)(facts));
            }
            Heard::Said(Stage::Ehlo, _) => self.lock().offers.clear(),
            Heard::Said(Stage::Auth, line) => {
                if let Some(rest) = line.strip_prefix("AUTH ") {
                    self.passed_over();
                    let mechanism = rest.split(' ').next().unwrap_or_default().to_owned();
                    self.lock().login = Some((mechanism, None));
                }
            }
            Heard::Answered(stage, line) => self.answered(stage, line),
            Heard::Failed(error) => self.lock().error = Some(error.clone()),
            Heard::Said(..) => {}
        }
    }
}

/// The address of this box from which packets to `to` would go; `None` if there is no route. Nothing is sent.
pub(super) fn way_to(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// What of a certificate explains a verdict on it: its dates, and the line that pins its key.
pub(super) fn facts_of(certificate: &[u8], now: crate::mail::UnixTime) -> String {
    let date =
        |time: Option<crate::mail::UnixTime>| time.map_or_else(|| "?".to_owned(), |time| time.to_string());
    let from = date(crate::net::not_before(certificate));
    let pin = crate::net::Pin::of(certificate).map_or_else(String::new, |pin| format!(", pin = \"{pin}\""));
    format!("valid from {from} until {}, this box's clock says {now}{pin}", date(not_after(certificate)))
}
