//! What can be wrong, each with a name that stays, what it means, and what to do: one closed list. docs/CHECK.md shows it, and
//! tests/check/causes.py produces each of them.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! causes {
    ($($variant:ident = $name:literal, $exit:ident, $what:literal, $cure:literal;)*) => {
        /// Why a step failed, or is warned of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause {
            $(#[doc = $what] $variant,)*
        }

        impl Cause {
            /// All of them.
            pub const ALL: &'static [Cause] = &[$(Cause::$variant),*];

            /// The name for machines, which does not change.
            pub fn name(self) -> &'static str {
                match self { $(Cause::$variant => $name),* }
            }

            /// What happened, in plain words.
            pub fn what(self) -> &'static str {
                match self { $(Cause::$variant => $what),* }
            }

            /// What to do.
            pub fn cure(self) -> &'static str {
                match self { $(Cause::$variant => $cure),* }
            }

            /// Whose matter it is.
            pub fn about(self) -> About {
                match self { $(Cause::$variant => About::$exit),* }
            }
        }
    };
}

/// Whose matter a cause is: what the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Our configuration.
    Config,
    /// Rights on this box, or the login.
    Rights,
    /// The disk.
    Disk,
    /// The network or the server.
    Server,
}

causes! {
    SettingsMissing = "settings-missing", Config, "no smarthost is configured: messages are accepted and kept",
        "set url in [[smarthost]]";
    ConfigWrong = "config-wrong", Config, "the configuration cannot be used",
        "mend the line that is named, then `pillarbox reload`";

    SpoolMissing = "spool-missing", Config, "there is no spool, or a part of it is missing",
        "make it: `pillarbox init`, or the commands of `pillarbox check --fix`";
    SpoolNotReadable = "spool-not-readable", Rights, "this user may not look into the spool",
        "run it as the user that owns the spool, or as root";
    SpoolOwner = "spool-owner", Rights, "the spool belongs to somebody else, in part or altogether",
        "run the commands of `pillarbox check --fix`";
    SpoolOpen = "spool-open-to-others", Rights, "others can read or change what lies in the spool",
        "run the commands of `pillarbox check --fix`";
    PickupOpen = "pickup-open-to-all", Rights, "everybody on this box can drop messages",
        "run the commands of `pillarbox check --fix`, and make those who drop members of the folder's group";
    DiskFull = "disk-full", Disk, "less is free on the spool's disk than min_free: nothing is accepted",
        "free room on that disk, or lower min_free in [spool]";
    InodesUsedUp = "inodes-used-up", Disk, "the spool's disk can hold hardly any more files: nothing is accepted",
        "remove files that are not needed from that disk, or make it anew with more inodes (mkfs -N)";
    DiskReadOnly = "disk-read-only", Disk, "the spool's disk is mounted read-only",
        "see dmesg: a kernel that finds errors mounts a disk read-only; check it, then mount it writable";
    SpoolVolatile = "spool-in-memory", Disk, "the spool is in memory (tmpfs): all that waits is lost with the power",
        "put the spool on a disk: dir in [spool]";
    SpoolOnNetwork = "spool-on-network", Disk,
        "the spool is on a filesystem of another host or program (NFS, SMB, FUSE, 9P): whether a sync is true, and what is seen \
         when, is up to that",
        "put the spool on a disk of this box: dir in [spool]";
    SpoolOnOverlay = "spool-on-overlay", Disk,
        "the spool is on an overlay, as the root of a container is: it goes when the container is removed",
        "put the spool on a volume: dir in [spool]";
    ClockWrong = "clock-wrong", Config,
        "this box's clock cannot be right: certificates look invalid by it, and messages get that date",
        "set the clock, and have it set at each start (timedatectl set-ntp true, or your time service)";

    NameNotFound = "name-not-found", Config, "the server's name does not exist (NXDOMAIN)",
        "check the host in url in [[smarthost]]";
    NameWithoutAddress = "name-without-address", Config, "the server's name exists and has no address",
        "check the host in url in [[smarthost]]: it may be the name of a domain, and not that of its mail server";
    NameServerUnreachable = "name-server-unreachable", Server, "there is no way to the name server",
        "check the network and its gateway (ip route), then nameserver in /etc/resolv.conf";
    NameServerAddressWrong = "name-server-address-wrong", Config,
        "the host at the name server's address answers, and no name server does",
        "check nameserver in /etc/resolv.conf; if it is right, start the name server there";
    NameServerSilent = "name-server-silent", Server,
        "the name server does not answer: it is unreachable or down, or its address is wrong; from here these look the same",
        "check nameserver in /etc/resolv.conf, then whether that host can be reached and UDP port 53 is let through";
    NameServerFails = "name-server-fails", Server, "the name server answers that it cannot or will not say",
        "ask who runs the name server, or name another one in /etc/resolv.conf";
    LookUpBroken = "look-up-broken", Config, "the name server knows the name, and this box's own look-up does not find it",
        "check the line hosts in /etc/nsswitch.conf (it needs dns), and /etc/hosts";

    NoRoute = "no-route", Server, "this box has no route to the server's network",
        "check the cable, the box's own address and its gateway (ip route)";
    HostUnreachable = "host-unreachable", Server,
        "somebody on the way says that the host cannot be reached: it is down, or a router or firewall refuses; from here these \
         look the same",
        "check that the server runs and that its address is right; if so, ask who runs the network";
    ConnectionForbidden = "connection-forbidden", Rights, "this box itself forbids the connection",
        "see its routes (ip route) and its firewall (nft list ruleset); of a unix socket, who may open it";
    PortClosed = "port-closed", Server, "the host answers, and nothing listens on that port",
        "check the port in url (587, 465 or 25 as a rule), and whether the mail server runs";
    PortFiltered = "port-filtered", Server, "the host answers on another port and is silent on this one: a firewall swallows it",
        "have the port opened, or use another one in url; many providers swallow port 25 and let 587 and 465 through";
    HostSilent = "host-silent", Server,
        "nothing answers: the host is down, its address is wrong, or a firewall swallows the port; from here these look the same",
        "check host and port in url, whether the server runs, and whether a firewall lets this port out";
    Ipv6Broken = "ipv6-broken", Server,
        "the server has an IPv6 address that cannot be had from here; IPv4 works, and each connection takes a little longer",
        "mend this box's IPv6, or take its IPv6 address away";
    SocketMissing = "socket-missing", Config, "nobody listens on that unix socket",
        "check the path in url, and whether the server runs";

    TlsToPlainPort = "tls-to-plain-port", Config, "TLS was spoken to a port that begins in plain",
        "write smtp:// instead of smtps:// in url, or use port 465";
    PlainToTlsPort = "plain-to-tls-port", Config, "that port wants TLS from the first byte, and was spoken to in plain",
        "write smtps:// instead of smtp:// in url, or use port 587";
    NotSmtp = "not-a-mail-server", Config, "what answers on that port is not a mail server",
        "check host and port in url";
    NotLmtp = "not-lmtp", Config, "the server does not speak LMTP",
        "write smtp:// instead of lmtp:// in url";
    NoGreeting = "no-greeting", Server, "the connection is taken and nothing is said on it",
        "check the port in url; if it is right, the mail server hangs, or is slow with strangers: ask who runs it";

    CertificateExpired = "certificate-expired", Server, "the server's certificate has expired, or this box's clock is ahead",
        "if the dates that are told are right, whoever runs the server has to renew it; if not, set this box's clock";
    CertificateNotYetValid = "certificate-not-yet-valid", Server,
        "the server's certificate is not valid yet, or this box's clock is behind",
        "if this box's clock is wrong, set it; if not, whoever runs the server has to replace the certificate";
    CertificateUnknownCa = "certificate-unknown-issuer", Config, "nobody that this box trusts has signed the server's certificate",
        "if it is your own server, name the certificate of its issuer in ca_file, or its key in pin";
    CertificateSelfSigned = "certificate-self-signed", Config, "the server has signed its certificate itself",
        "if it is your own server, name that certificate in ca_file, or its key in pin";
    CertificateWrongName = "certificate-wrong-name", Config, "the server's certificate is for another name",
        "use in url a name that stands in the certificate";
    CertificateNotPinned = "certificate-not-pinned", Config, "the server's key is none of those in pin",
        "if the server's key was changed on purpose, put the new one into pin; if not, it is another server";
    CertificateNotUsable = "certificate-not-usable", Server, "the server's certificate cannot be used for a server",
        "whoever runs the server has to replace it";
    CertificateEndsSoon = "certificate-ends-soon", Server, "a certificate ends soon: nothing is sent from then on",
        "have it renewed before that day";
    TlsTooOld = "tls-too-old", Server, "the server speaks nothing newer than TLS 1.1",
        "whoever runs the server has to allow TLS 1.2 or 1.3";
    TlsHandshakeFailed = "tls-handshake-failed", Server, "the TLS handshake does not come to an end",
        "ask who runs the server: this box speaks TLS 1.2 and 1.3 with the usual ciphers";
    TlsFiles = "tls-files", Config, "what TLS needs on this box cannot be used",
        "check ca_file, client_cert and client_key in [[smarthost]] (readable, PEM), and the package ca-certificates";
    ClientCertificateRefused = "client-certificate-refused", Rights, "the server wants a client certificate, or another one",
        "see client_cert in [[smarthost]]: the server has to know who issued it, and it must not have ended";
    StartTlsNotOffered = "starttls-not-offered", Config, "TLS is required, and the server does not offer it on this port",
        "try smtps:// and port 465 in url; tls = \"none\" gives up on TLS, and sends all in the clear";
    StartTlsRefused = "starttls-refused", Server, "the server offers TLS and refuses to begin it",
        "it is tried again; if it lasts, ask who runs the server";
    NotEncrypted = "not-encrypted", Config, "messages go to the server in the clear",
        "set tls = \"required\" as soon as the server has TLS; tls = \"none\" says that this is as it should be";

    BoxRefused = "box-refused", Server, "the server does not want to talk to this box",
        "ask who runs the server to let this box in by its address";
    HelloRefused = "hello-refused", Config, "the server does not take how this box greets",
        "set hostname in [identity] to a full name of this box";
    ServerShuttingDown = "server-shutting-down", Server, "the server says that it is going, or that it is too busy",
        "it is tried again; nothing has to be done unless it lasts";
    ConnectionLost = "connection-lost", Server, "the server closed the connection in the middle",
        "look into the server's log; a firewall or virus scanner between may have done it as well";
    ServerSilent = "server-silent", Server, "the server fell silent in the middle",
        "look into the server's log; a firewall or virus scanner between may hold it up as well";
    NotUnderstood = "not-understood", Server, "what the server answers has no sense here",
        "check host and port in url; a firewall that changes SMTP may be between";

    LoginRequired = "login-required", Rights, "the server wants a login, and there was none",
        "set user and password in [[smarthost]], or have the server let this box in by its address";
    EncryptionRequired = "encryption-required", Config, "the server wants TLS first",
        "set tls = \"required\" in [[smarthost]]";
    LoginNotOffered = "login-not-offered", Config, "a login is set, and the server does not want any",
        "take user and password out of [[smarthost]], or use the port for logins (587 or 465) in url";
    MechanismNotOffered = "mechanism-not-offered", Config, "the server offers logins, and none that may be used here",
        "see auth in [[smarthost]]: leave it out, or name what the server offers";
    LoginRefused = "login-refused", Rights, "user or password is wrong; servers do not say which",
        "check user and password in [[smarthost]]: log in with them somewhere else";
    PasswordLoginsDisabled = "password-logins-disabled", Rights, "the provider has switched logins by password off",
        "use OAuth 2.0 (docs/MICROSOFT365.md), have SMTP AUTH allowed for this user, or have a connector made that knows this box";
    OtherLoginWanted = "other-login-wanted", Rights, "the server wants another kind of login for this user",
        "make a password for applications with the provider, or use OAuth 2.0, or another mechanism (auth)";
    LoginNotJudged = "login-not-judged", Server, "the server cannot judge the login now, or there were too many",
        "it is tried again, each time later; nothing has to be done unless it lasts";
    TokenRefused = "token-refused", Rights,
        "the server does not take the token: it has expired, or is not for this user, or not for sending mail",
        "get a new token; check user, and the scope and permissions of the application";
    NoToken = "no-token", Rights, "the token endpoint gives no token",
        "see what it says, and [smarthost.oauth]";
    TokenNotTried = "token-not-tried", Rights,
        "no token is in force, and check asks for none with a refresh token: that is the service's business",
        "start the service: it asks for one, and `pillarbox status` says what came of it";
    PasswordUnreadable = "password-unreadable", Rights, "the password or the token cannot be read on this box",
        "see password in [[smarthost]]; what systemd gives to the service is not there for others";

    SenderRefused = "sender-refused", Rights, "the server does not take this sender",
        "use a sender that belongs to the login: from in [[smarthost]] or in [identity]";
    RelayingRefused = "relaying-refused", Rights, "the server does not relay for this box, or its policy forbids this message",
        "set user and password in [[smarthost]], or have the server let this box in by its address";
    RecipientRefused = "recipient-refused", Config,
        "the server does not take this recipient: there is none such, or it does not relay to there",
        "check the address; if it is right, set user and password in [[smarthost]]";
    MessageTooLarge = "message-too-large", Config, "the server takes no message of that size",
        "set max_message_size in [spool] to what the server takes, or have its limit raised";
    AddressNotTaken = "address-not-taken", Server, "the address is not ASCII, and the server takes only those that are",
        "use an address in ASCII, or a server with SMTPUTF8";
    QuotaUsedUp = "quota-used-up", Server, "the provider's rate or quota is used up",
        "it is tried again; set rate or daily in [[smarthost]] to what the provider allows";
    Greylisted = "greylisted", Server, "the server wants to be asked again later (greylisting), or cannot take this recipient now",
        "it is tried again, and taken after some minutes as a rule";
    ServerFull = "server-full", Server, "the server has no room",
        "it is tried again; if it lasts, tell who runs the server";
    ServerDefers = "server-defers", Server, "the server does not take it now",
        "it is tried again; if it lasts, ask who runs the server";
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_is_in_the_manual_with_its_cure() {
        let manual = include_str!("../../docs/CHECK.md");
        let mut names = std::collections::BTreeSet::new();
        for cause in Cause::ALL {
            assert!(names.insert(cause.name()), "{cause} twice");
            let row = format!("| `{}` | {} | {} |", cause.name(), cause.what(), cause.cure());
            assert!(manual.contains(&row), "docs/CHECK.md has not:\n{row}");
        }
        let rows = manual.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, names.len(), "docs/CHECK.md names what is none");
    }
}
