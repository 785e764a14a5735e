//! What was dropped and what arrived, and whether the one is the other.

use std::time::{Duration, Instant};

/// Fields that are added on the way where they are missing.
const ADDED: [&str; 3] = ["received", "date", "message-id"];

/// One file that the demo dropped.
#[derive(Debug, Clone)]
pub(super) struct Dropped {
    pub(super) subject: String,
    /// With bare LF as line ends, as producers on Unix write it.
    pub(super) text: String,
    pub(super) at: Instant,
}

/// One final dot that was answered 250.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) bytes: Vec<u8>,
    pub(super) at: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) dropped: Vec<Dropped>,
    pub(super) arrived: Vec<Arrived>,
}

/// One message of a stretch of the ledger, compared.
#[derive(Debug, Clone)]
pub(super) struct Compared {
    pub(super) subject: String,
    /// The places, from 0, at which it arrived among the messages of the stretch.
    pub(super) places: Vec<usize>,
    /// From the rename into pickup/ to the first final dot.
    pub(super) waited: Duration,
}

impl Ledger {
    /// How many of the files dropped from `first` on have arrived.
    pub(super) fn here(&self, first: usize) -> usize {
        self.dropped[first..].iter().filter(|d| self.arrived.iter().any(|a| is(a, d))).count()
    }

    /// How many of the final dots so far were about files dropped from `first` on.
    pub(super) fn dots(&self, first: usize) -> usize {
        self.arrived.iter().filter(|a| self.dropped[first..].iter().any(|d| is(a, d))).count()
    }

    /// Compares what was dropped in `from..to` with what arrived of it. Fails with what is not as promised:
    /// one missing, one out of order, one that differs.
    pub(super) fn compare(&self, from: usize, to: usize) -> Result<Vec<Compared>, String> {
        let dropped = &self.dropped[from..to];
        let arrived: Vec<(usize, &Arrived)> = self
            .arrived
            .iter()
            .filter_map(|a| dropped.iter().position(|d| is(a, d)).map(|which| (which, a)))
            .collect();
        let mut order: Vec<usize> = arrived.iter().map(|(which, _)| *which).collect();
        // A copy comes directly behind the first, or it is out of order too.
        order.dedup();
        let mut all = Vec::new();
        for (which, d) in dropped.iter().enumerate() {
            let copies: Vec<_> = arrived.iter().enumerate().filter(|(_, (w, _))| *w == which).collect();
            let Some((_, (_, first))) = copies.first() else {
                return Err(format!("{:?} did not arrive", d.subject));
            };
            for (_, (_, copy)) in &copies {
                same(&d.text, &copy.bytes).map_err(|why| format!("{:?} was changed: {why}", d.subject))?;
                if copy.bytes != first.bytes {
                    return Err(format!("the copies of {:?} differ", d.subject));
                }
            }
            all.push(Compared {
                subject: d.subject.clone(),
                places: copies.iter().map(|(place, _)| *place).collect(),
                waited: first.at.saturating_duration_since(d.at),
            });
        }
        if let Some(place) = (0..order.len()).find(|place| order[*place] != *place) {
            let found = &dropped[order[place]].subject;
            return Err(format!("expected message {} of {}, found {found:?}", place + 1, dropped.len()));
        }
        Ok(all)
    }
}

/// Whether `arrived` is `dropped`, by its subject; no two dropped files share one.
fn is(arrived: &Arrived, dropped: &Dropped) -> bool {
    let head = String::from_utf8_lossy(&arrived.bytes);
    let mut lines = head.lines().take_while(|line| !line.is_empty());
    lines.any(|line| line.strip_prefix("Subject: ") == Some(&dropped.subject))
}

/// Whether `arrived` is `dropped` to the byte, but for line ends (CRLF on the wire) and the fields that are
/// added. Fails with the first difference.
fn same(dropped: &str, arrived: &[u8]) -> Result<(), String> {
    let dropped = dropped.replace('\n', "\r\n");
    let split = |text: &[u8]| {
        let at = text.windows(4).position(|w| w == b"\r\n\r\n").map_or(text.len(), |at| at + 2);
        (text[..at].to_vec(), text[at..].to_vec())
    };
    let (head_before, body_before) = split(dropped.as_bytes());
    let (head_after, body_after) = split(arrived);
    if body_before != body_after {
        let alike = body_before.iter().zip(&body_after).take_while(|(a, b)| a == b).count();
        let (before, after) = (body_before.len(), body_after.len());
        return Err(format!("its text differs from octet {alike} on ({before} octets, then {after})"));
    }
    let mut kept = fields(&head_after);
    kept.retain(|field| !is_added(field) || fields(&head_before).contains(field));
    if kept == fields(&head_before) { Ok(()) } else { Err("its header differs".into()) }
}

/// The fields of a header, each with its folded lines.
fn fields(head: &[u8]) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in String::from_utf8_lossy(head).split_inclusive("\r\n") {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => field.push_str(line),
            _ => fields.push(line.to_owned()),
        }
    }
    fields
}

fn is_added(field: &str) -> bool {
    field.split_once(':').is_some_and(|(name, _)| ADDED.contains(&name.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::show::now;
    use super::*;

    fn ledger(dropped: &[&str], arrived: &[&str]) -> Ledger {
        let text = |subject: &str| format!("From: a@b\nSubject: {subject}\n\n.\nhi {subject}\n");
        let wire = |subject: &str| {
            format!(
                "Received: from x\r\n\tby y\r\nFrom: a@b\r\nSubject: {subject}\r\nDate: z\r\n\r\n.\r\nhi {subject}\r\n"
            )
        };
        let drop = |s: &&str| Dropped { subject: (*s).into(), text: text(s), at: now() };
        let arrive = |s: &&str| Arrived { bytes: wire(s).into(), at: now() };
        Ledger { dropped: dropped.iter().map(drop).collect(), arrived: arrived.iter().map(arrive).collect() }
    }

    fn places(dropped: &[&str], arrived: &[&str]) -> Result<Vec<Vec<usize>>, String> {
        let all = ledger(dropped, arrived).compare(0, dropped.len())?;
        Ok(all.into_iter().map(|c| c.places).collect())
    }

    #[test]
    fn order_copies_and_losses_are_seen() {
        assert_eq!(places(&["1", "2"], &["1", "2"]), Ok(vec![vec![0], vec![1]]));
        assert_eq!(places(&["1", "2"], &["other", "1", "1", "2"]), Ok(vec![vec![0, 1], vec![2]]));
        assert!(places(&["1", "2"], &["2", "1"]).unwrap_err().contains("expected message 1"));
        assert!(places(&["1", "2"], &["1", "2", "1"]).unwrap_err().contains("expected message"));
        assert!(places(&["1", "2"], &["1"]).unwrap_err().contains("did not arrive"));
    }

    #[test]
    fn stretches_are_counted_alone() {
        let ledger = ledger(&["1", "2", "3"], &["1", "2", "2"]);
        assert_eq!((ledger.here(0), ledger.here(1), ledger.dots(1), ledger.here(2)), (2, 1, 2, 0));
        assert!(ledger.compare(1, 2).is_ok());
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let before = "From: a@b\nSubject: s\n\n.\nhi\n";
        let check = |after: &str| same(before, after.as_bytes());
        assert_eq!(check("From: a@b\r\nSubject: s\r\n\r\n.\r\nhi\r\n"), Ok(()));
        assert_eq!(
            check("Date: x\r\n y\r\nFrom: a@b\r\nSubject: s\r\nMessage-ID: <a@b>\r\n\r\n.\r\nhi\r\n"),
            Ok(())
        );
        for wrong in [
            "From: a@b\r\nSubject: s\r\n\r\nhi\r\n",
            "From: a@b\r\nSubject: s\r\n\r\n.\nhi\r\n",
            "From: a@b\r\nSubject: s\r\n\r\n.\r\nhi\r\n\r\n",
            "Subject: s\r\nFrom: a@b\r\n\r\n.\r\nhi\r\n",
            "From: a@b\r\nSubject: s\r\nX-Other: t\r\n\r\n.\r\nhi\r\n",
        ] {
            assert!(check(wrong).is_err(), "{wrong:?} passed");
        }
    }
}
