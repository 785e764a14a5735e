//! The schedule against a smarthost and a clock that are not there: random histories, and what must hold in all of them.
//!
//! `PILLARBOX_SEED=N cargo test --test policy -- --nocapture` plays one history and tells it; `PILLARBOX_RUNS` says how
//! many are tried.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pillarbox::mail::{Mailbox, Monotonic, QueueId, Stage, UnixTime};
use pillarbox::policy::{
    End, Expiry, Fate, Memory, Moment, Queue, Quota, Rate, ReplyKind, Ruling, Schedule, Setback, Standing,
    Terms, Then,
};

const INTERVAL: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(86_400);
const RUNS: u64 = 1_000_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What the server makes of a message when it is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Good,
    /// Its mailbox is full for so many tries; `u32::MAX` is for ever.
    Full(u32),
    /// Its recipient is not known.
    Nobody,
    /// The line is lost with it so often.
    Poison(u32),
    /// The reply to its dot does not come so often.
    Silent(u32),
    /// The server takes only so many recipients at once, so often.
    Many(u32),
}

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// It cannot be reached.
    Away,
    /// It defers whatever it is given.
    Busy,
    /// It refuses whatever it is given.
    Closed,
}

#[derive(Debug)]
struct Message {
    nature: Nature,
    standing: Standing,
    to: Arc<[Mailbox]>,
    deferral: Option<Setback>,
    /// When it was first deferred, and how much of the time before was no use.
    first_deferred: Option<(Duration, Duration)>,
    /// Unless everything was made due since.
    last_aside_try: Option<Duration>,
}

/// What waits, and what was given up.
#[derive(Debug, Default)]
struct Shelf {
    waiting: BTreeMap<QueueId, Message>,
    failed: BTreeMap<QueueId, Message>,
}

impl Shelf {
    fn forget_tries(&mut self) {
        self.waiting.values_mut().for_each(|message| message.last_aside_try = None);
    }
}

impl Queue for Shelf {
    fn head(&self) -> Option<QueueId> {
        self.waiting.iter().find(|(_, m)| m.standing.aside.is_none()).map(|(id, _)| *id)
    }

    fn behind(&self, id: QueueId) -> Option<QueueId> {
        self.waiting.iter().find(|(other, m)| **other > id && m.standing.aside.is_none()).map(|(id, _)| *id)
    }

    fn find_aside(&self, is: &mut dyn FnMut(QueueId) -> bool) -> Option<QueueId> {
        self.waiting.iter().filter(|(_, m)| m.standing.aside.is_some()).map(|(id, _)| *id).find(|id| is(*id))
    }

    fn waiting_behind(&self, id: Option<QueueId>) -> Option<QueueId> {
        self.waiting.keys().copied().find(|other| Some(*other) > id)
    }
}

struct World {
    random: Random,
    terms: Terms,
    schedule: Schedule,
    shelf: Shelf,
    weather: Weather,
    /// Time as nobody but this test knows it, and the clock of this boot, which began at `booted`.
    now: Duration,
    booted: Duration,
    boot: u32,
    memory: Memory,
    next_id: u32,
    people: Arc<Vec<Arc<[Mailbox]>>>,
    /// Time in which the smarthost was known not to be usable, or nobody could know.
    no_use: Duration,
    /// Since when it is like that.
    no_use_since: Option<Duration>,
    last_contact: Duration,
    /// So long deferred messages have held the line since something was taken.
    held: Duration,
    /// What deferred the last that stepped aside, unless something was taken since.
    stepped_aside: Option<Setback>,
    began: Vec<(Duration, u32)>,
    /// Where in it this boot begins, and what is on record.
    of_this_boot: usize,
    counted: usize,
    breaker_is_open: bool,
    tells: bool,
}

fn id(n: u32) -> QueueId {
    format!("{n:032x}").parse().expect("an id")
}

fn kind(stage: Stage, code: u16, enhanced: &str) -> ReplyKind {
    ReplyKind { stage, code, enhanced: enhanced.parse().ok() }
}

impl World {
    fn new(seed: u64, people: Arc<Vec<Arc<[Mailbox]>>>, tells: bool) -> World {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..4 {
            random.next();
        }
        let seconds = |n: u64| Some(Duration::from_secs(n));
        let terms = Terms {
            retry_interval: INTERVAL,
            hold_line: [seconds(0), seconds(30), seconds(60), seconds(100), None][random.below(5) as usize],
            max_age: seconds(600 + random.below(4) * 1200),
            max_attempts: [None, None, Some(1 + random.below(6) as u32)][random.below(3) as usize],
            quotas: vec![Quota {
                smarthost: "mail".into(),
                rate: [
                    None,
                    None,
                    Some(Rate { count: 1 + random.below(4) as u32, per: Duration::from_secs(60) }),
                ][random.below(3) as usize],
                daily: [None, None, None, Some(3 + random.below(40) as u32)][random.below(4) as usize],
            }],
        };
        World {
            schedule: Schedule::new(terms.clone()),
            random,
            terms,
            shelf: Shelf::default(),
            weather: Weather::Fair,
            now: Duration::from_secs(1000),
            booted: Duration::ZERO,
            boot: 1,
            memory: Memory::default(),
            next_id: 1,
            people,
            no_use: Duration::ZERO,
            no_use_since: Some(Duration::from_secs(1000)),
            last_contact: Duration::from_secs(1000),
            held: Duration::ZERO,
            stepped_aside: None,
            began: Vec::new(),
            of_this_boot: 0,
            counted: 0,
            breaker_is_open: false,
            tells,
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{:>7} s  {}", self.now.as_secs(), what());
        }
    }

    fn clock(&self) -> Monotonic {
        Monotonic(self.now - self.booted)
    }

    fn moment(&self) -> Moment {
        let wall = UnixTime::from_secs(1_800_000_000 + self.now.as_secs());
        Moment { boot: self.boot.to_string(), now: self.clock(), wall }
    }

    fn accept(&mut self, nature: Nature) {
        let to = self.people[self.random.below(self.people.len() as u64) as usize].clone();
        let message = Message {
            nature,
            standing: Standing::default(),
            to,
            deferral: None,
            first_deferred: None,
            last_aside_try: None,
        };
        self.tell(|| format!("{} comes: {nature:?} for {:?}", self.next_id, message.to));
        self.shelf.waiting.insert(id(self.next_id), message);
        self.next_id += 1;
    }

    /// Something happens that is not the sender's doing.
    fn happen(&mut self) {
        match self.random.below(16) {
            0..=5 => {
                let times = [1, 2, 4, 9][self.random.below(4) as usize];
                let nature = match self.random.below(12) {
                    0..=4 => Nature::Good,
                    5 => Nature::Full(u32::MAX),
                    6 => Nature::Full(times),
                    7 | 8 => Nature::Nobody,
                    9 => Nature::Poison(times),
                    10 => Nature::Silent(times),
                    _ => Nature::Many(times),
                };
                self.accept(nature);
            }
            6..=8 => {
                let weathers = [Weather::Fair, Weather::Away, Weather::Busy, Weather::Closed];
                self.weather = weathers[self.random.below(4) as usize];
                self.tell(|| format!("{:?}", self.weather));
            }
            9 => {
                self.tell(|| "flush".into());
                self.schedule.everything_is_due();
                self.shelf.forget_tries();
            }
            10 | 11 => self.restart(),
            12 => self.reboot(),
            _ => self.now += Duration::from_secs(self.random.below(400)),
        }
    }

    /// The process ends and comes again; what it knew lies in memory/.
    fn restart(&mut self) {
        self.tell(|| "restart".into());
        let before = self.schedule.memory(&self.moment());
        if self.schedule.take_changed() {
            self.memory = before;
        }
        self.begin_again();
    }

    /// The box was off, and what was not synced may be lost.
    fn reboot(&mut self) {
        let lost = self.random.one_in(3);
        self.tell(|| format!("reboot, memory lost: {lost}"));
        if self.schedule.take_changed() {
            self.memory = self.schedule.memory(&self.moment());
        }
        if lost {
            self.memory = Memory::default();
            self.counted = self.began.len();
            self.held = Duration::ZERO;
            self.breaker_is_open = false;
            self.stepped_aside = None;
        }
        self.no_use_since = self.no_use_since.or(Some(self.last_contact));
        self.now += Duration::from_secs(self.random.below(100_000));
        self.boot += 1;
        self.booted = self.now - Duration::from_secs(self.random.below(900));
        self.of_this_boot = self.began.len();
        self.begin_again();
    }

    fn begin_again(&mut self) {
        self.schedule = Schedule::new(self.terms.clone());
        self.schedule.recall(&self.memory, &self.moment());
        for (id, message) in self.shelf.waiting.iter().filter(|(_, m)| m.standing.aside.is_some()) {
            message.deferral.iter().for_each(|deferral| self.schedule.recall_aside(*id, deferral.clone()));
        }
        self.shelf.forget_tries();
    }

    /// One step of the sender: a transaction, or a wait.
    fn step(&mut self) {
        let Some(due) = self.schedule.due(&self.shelf, self.clock()) else {
            match self.schedule.next_due(&self.shelf, self.clock()) {
                Some(next) => {
                    assert!(next > self.clock(), "something is due and nothing is tried");
                    self.now = self.booted + next.0;
                }
                None => self.now += INTERVAL,
            }
            return;
        };
        if self.weather == Weather::Away && self.random.one_in(2) {
            self.tell(|| "no session".into());
            self.schedule.session_problem();
            self.no_use_since = self.no_use_since.or(Some(self.last_contact));
            self.now += INTERVAL;
            return;
        }
        self.transact(due);
    }

    fn transact(&mut self, due: QueueId) {
        self.schedule.begins(due, &self.shelf);
        let recipients = self.shelf.waiting[&due].to.len() as u32;
        if !self.schedule.has_room_for(due, recipients, self.clock()) {
            self.tell(|| format!("{due:?}: the day has no room for {recipients}"));
            return;
        }
        self.schedule.sends(recipients, self.clock());
        self.check_quota(recipients);
        let mut message = self.shelf.waiting.remove(&due).expect("what is due waits");
        if message.standing.aside.is_some() {
            let early = message.last_aside_try.is_some_and(|last| last + INTERVAL > self.now);
            assert!(!early, "one aside is tried twice within an interval");
            message.last_aside_try = Some(self.now);
        }
        self.now += Duration::from_millis(200);
        let end = self.answer(&mut message);
        let ruling = self.schedule.ended(due, message.standing, end.clone(), &self.shelf, self.clock());
        self.tell(|| format!("{due:?}: {end:?}\n           {ruling:?}"));
        self.note_use(&ruling, &mut message);
        self.check(due, &message, &end, &ruling);
        self.obey(due, message, end, ruling);
    }

    /// What the server says, and what becomes of the message's nature by it.
    fn answer(&mut self, message: &mut Message) -> End {
        let all = |said| Setback { said, recipients: message.to.clone() };
        let done = End::Done { taken: true, given_up: false, refused: None };
        let refused = |why: Setback| End::Done { taken: false, given_up: true, refused: Some(why) };
        let again = |times: &mut u32, end: End, or: End| match times {
            0 => or,
            _ => {
                *times = times.saturating_sub(u32::from(*times != u32::MAX));
                end
            }
        };
        // Else those whom it did not leave over are refused.
        let some_taken = !self.random.one_in(3);
        match (self.weather, &mut message.nature) {
            (Weather::Away, _) => End::Session,
            (_, Nature::Poison(times)) => again(times, End::Lost, done),
            (Weather::Busy, _) => {
                End::Deferred { taken: false, deferral: all(kind(Stage::Mail, 451, "4.3.0")) }
            }
            (Weather::Closed, _) => refused(all(kind(Stage::Mail, 550, "5.7.1"))),
            (_, Nature::Good) => done,
            (_, Nature::Nobody) => refused(all(kind(Stage::Rcpt, 550, "5.1.1"))),
            (_, Nature::Full(times)) => {
                let deferral = all(kind(Stage::Rcpt, 452, "4.2.2"));
                again(times, End::Deferred { taken: false, deferral }, done)
            }
            (_, Nature::Silent(times)) => again(times, End::Unknown, done),
            (_, Nature::Many(times)) => again(times, End::LeftOver { taken: some_taken }, done),
        }
    }

    /// What this test knows of the time in which the smarthost was usable.
    fn note_use(&mut self, ruling: &Ruling, message: &mut Message) {
        match ruling.then {
            Then::Proceed | Then::HoldLine => {
                if let Some(since) = self.no_use_since.take() {
                    self.no_use += self.now - since;
                }
                self.last_contact = self.now;
                if ruling.standing.age.is_some() && message.first_deferred.is_none() {
                    message.first_deferred = Some((self.now, self.no_use));
                }
            }
            Then::EndSession | Then::DeferredAlike | Then::BreakerOpen => {
                self.no_use_since = self.no_use_since.or(Some(self.last_contact));
            }
        }
    }

    fn check(&self, due: QueueId, message: &Message, end: &End, ruling: &Ruling) {
        let taken = matches!(end, End::Done { taken: true, .. } | End::LeftOver { taken: true });
        let was_in_line = message.standing.aside.is_none();
        if taken && was_in_line && !ruling.closes_breaker {
            let passed =
                self.shelf.waiting.iter().find(|(id, m)| {
                    **id < due && m.standing.aside.is_none() && Some(**id) != ruling.steps_aside
                });
            assert!(passed.is_none(), "order: {due:?} passed {passed:?}");
        }
        if let (Some(age), Some((since, no_use))) = (ruling.standing.age, message.first_deferred) {
            let most = self.now.saturating_sub(since).saturating_sub(self.no_use - no_use);
            assert!(age.span() <= most + Duration::from_millis(1), "age: {:?}, at most {most:?}", age.span());
        }
        match ruling.fate {
            Fate::Failed => {
                assert!(matches!(end, End::Done { given_up: true, .. }), "{end:?} is charged to {due:?}");
                assert!(!self.breaker_is_open, "{due:?} is given up while the breaker is open");
            }
            Fate::Expired(expiry) => {
                assert!(matches!(end, End::Deferred { .. }), "{due:?} expires by {end:?}");
                match expiry {
                    Expiry::Age(age) => assert!(Some(age) >= self.terms.max_age),
                    Expiry::Attempts(times) => assert!(Some(times) >= self.terms.max_attempts),
                }
            }
            Fate::Delivered => assert!(matches!(end, End::Done { given_up: false, .. })),
            Fate::Waits | Fate::Uncharged => {}
        }
        if matches!(end, End::Session | End::Lost) {
            assert_eq!(ruling.standing.attempts, message.standing.attempts, "a link fault is charged");
            assert_eq!(ruling.standing.age, message.standing.age, "a link fault ages");
        }
        if ruling.then == Then::DeferredAlike {
            assert_eq!(
                ruling.standing, message.standing,
                "what the server does to all is charged to {due:?}"
            );
        }
        if self.terms.hold_line.is_none() {
            let stays = was_in_line == ruling.standing.aside.is_none() && ruling.steps_aside.is_none();
            assert!(stays, "strict: {due:?} steps aside");
        }
    }

    /// Two in a row that are deferred alike, with nobody in common: that is the server, and the second does not step aside,
    /// unless one aside says already what is the matter with its recipient.
    fn check_general(&mut self, message: &Message, end: &End, ruling: &Ruling) {
        let End::Deferred { deferral, .. } = end else { return };
        if message.standing.aside.is_some() || ruling.standing.aside.is_none() {
            return;
        }
        let shares = |other: &Setback| other.recipients.iter().any(|to| deferral.recipients.contains(to));
        let is_known = self.shelf.waiting.values().any(|m| {
            m.standing.aside.is_some()
                && m.deferral.as_ref().is_some_and(|d| d.said == deferral.said && shares(d))
        });
        let last = self.stepped_aside.replace(deferral.clone());
        let is_of_mailbox = deferral.said.stage == Stage::Rcpt;
        let alike = !is_of_mailbox && last.is_some_and(|last| last.said == deferral.said && !shares(&last));
        assert!(!alike || is_known, "the server defers all, and one after the other steps aside");
    }

    fn obey(&mut self, due: QueueId, mut message: Message, end: End, ruling: Ruling) {
        let taken = matches!(end, End::Done { taken: true, .. } | End::LeftOver { taken: true });
        if taken {
            self.held = Duration::ZERO;
            self.stepped_aside = None;
        }
        self.check_general(&message, &end, &ruling);
        if matches!(end, End::LeftOver { .. }) {
            // The rest goes next.
            message.last_aside_try = None;
        }
        self.breaker_is_open &= !ruling.closes_breaker;
        self.breaker_is_open |= ruling.then == Then::BreakerOpen;
        message.standing = ruling.standing;
        if let End::Deferred { deferral, .. } = end
            && ruling.fate == Fate::Waits
        {
            message.deferral = Some(deferral);
        }
        match ruling.fate {
            Fate::Delivered | Fate::Expired(_) => {}
            Fate::Failed => drop(self.shelf.failed.insert(due, message)),
            Fate::Waits | Fate::Uncharged => drop(self.shelf.waiting.insert(due, message)),
        }
        if let Some(first) = ruling.steps_aside {
            self.schedule.put_off(first, Some(0), self.clock());
            let first = self.shelf.waiting.get_mut(&first).expect("what steps aside waits");
            first.standing.aside = Some(0);
        }
        for id in &ruling.brings_back {
            let mut message = self.shelf.failed.remove(id).expect("what is brought back had failed");
            (message.standing, message.first_deferred) = (Standing::default(), None);
            self.shelf.waiting.insert(*id, message);
        }
        match ruling.then {
            Then::Proceed => {}
            Then::HoldLine => {
                self.held += INTERVAL;
                let most = self.terms.hold_line;
                assert!(most.is_none_or(|most| self.held <= most), "the line is held for {:?}", self.held);
            }
            Then::EndSession | Then::DeferredAlike | Then::BreakerOpen => self.now += INTERVAL,
        }
    }

    fn check_quota(&mut self, recipients: u32) {
        let Quota { rate, daily, .. } = &self.terms.quotas[0];
        self.began.push((self.now, recipients));
        if let Some(rate) = rate {
            let began = self.began[self.of_this_boot..].iter();
            let within = began.filter(|(began, _)| *began + rate.per > self.now).count();
            assert!(within <= rate.count as usize, "{within} transactions within {:?}", rate.per);
        }
        if let Some(daily) = daily {
            let began = self.began[self.counted..].iter();
            let day = began.filter(|(began, _)| *began + DAY > self.now).map(|(_, recipients)| recipients);
            let spent: u32 = day.sum();
            assert!(spent <= *daily || spent == recipients, "{spent} recipients in a day of {daily}");
        }
    }

    /// The weather stays fair and nothing more happens: whatever waits must leave or expire.
    fn end(&mut self) {
        self.weather = Weather::Fair;
        for message in self.shelf.waiting.values_mut() {
            if matches!(message.nature, Nature::Poison(_) | Nature::Silent(_)) {
                message.nature = Nature::Good;
            }
        }
        self.tell(|| "the end begins".into());
        for step in 0..20_000 {
            if self.shelf.waiting.is_empty() {
                return;
            }
            // What everybody refuses waits until something else is taken.
            if step % 50 == 49 && self.breaker_is_open {
                self.accept(Nature::Good);
            }
            self.step();
        }
        panic!("these wait for ever: {:#?}", self.shelf.waiting);
    }
}

fn people() -> Arc<Vec<Arc<[Mailbox]>>> {
    let groups: [&[&str]; 5] = [&["ops"], &["night"], &["boss"], &["ops", "night"], &["desk"]];
    let group = |names: &&[&str]| {
        names.iter().map(|n| format!("{n}@example.com").parse().expect("an address")).collect()
    };
    Arc::new(groups.iter().map(group).collect())
}

fn play(seed: u64, people: Arc<Vec<Arc<[Mailbox]>>>, tells: bool) {
    let mut world = World::new(seed, people, tells);
    for _ in 0..2 {
        world.accept(Nature::Good);
    }
    for _ in 0..60 {
        if world.random.one_in(2) {
            world.happen();
        }
        world.step();
    }
    world.end();
}

#[test]
fn whatever_happens_the_rules_hold() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let people = people();
    if let Some(seed) = number("PILLARBOX_SEED") {
        play(seed, people, true);
        return;
    }
    for seed in 1..=number("PILLARBOX_RUNS").unwrap_or(RUNS) {
        let people = people.clone();
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(seed, people, false)));
        if played.is_err() {
            panic!("it can be seen again by PILLARBOX_SEED={seed}");
        }
    }
}
