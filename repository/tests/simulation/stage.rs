//! The stage: one storage operation after the other happens, in an order that dice decide, while time passes.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use reprise_repository::Clock;
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{
    Backend, BackendError, BackendResult, Capabilities, ObjectInfo, ObjectKey, WriteVerification,
};

use super::support::now;

/// Reproducible numbers.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// What a machine is doing, as the scheduler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It computes, and will ask for an operation or end.
    Runs,
    /// It has asked for an operation.
    Asks,
    /// It may do the operation it has asked for.
    Goes(Weather),
    /// It is over.
    Over,
}

/// What befalls an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    /// It never reaches the storage.
    Lost,
    /// It reaches the storage, and nobody hears of it.
    Unheard,
}

#[derive(Debug)]
struct Machine {
    state: State,
    /// Since when it is dead: nothing that it asks for happens.
    dead: bool,
    /// How far its wall clock is off.
    off: TimeDelta,
    /// How much of the time its monotonic clock has missed, asleep.
    asleep: Duration,
}

#[derive(Debug)]
struct Play {
    machines: Vec<Machine>,
    passed: Duration,
    trace: Vec<String>,
}

/// The scheduler and everything that it decides about.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) storage: MemoryBackend,
    /// Where copies go.
    pub(crate) away: MemoryBackend,
    state: Mutex<Play>,
    changed: Condvar,
}

impl Stage {
    pub(crate) fn new(storage: MemoryBackend) -> Arc<Self> {
        let away = MemoryBackend::default();
        for place in [&storage, &away] {
            place.set_clock(now());
        }
        Arc::new(Self {
            storage,
            away,
            state: Mutex::new(Play {
                machines: Vec::new(),
                passed: Duration::ZERO,
                trace: Vec::new(),
            }),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Play> {
        self.state.lock().unwrap()
    }

    pub(crate) fn add(&self) -> usize {
        let mut state = self.lock();
        state.machines.push(Machine {
            state: State::Runs,
            dead: false,
            off: TimeDelta::zero(),
            asleep: Duration::ZERO,
        });
        state.machines.len() - 1
    }

    pub(crate) fn pass(&self, time: Duration) {
        let mut state = self.lock();
        state.passed += time;
        let shown = now() + TimeDelta::from_std(state.passed).unwrap();
        self.storage.set_clock(shown);
        self.away.set_clock(shown);
    }

    fn place(&self, place: Place) -> &MemoryBackend {
        match place {
            Place::Home => &self.storage,
            Place::Away => &self.away,
        }
    }

    /// A machine asks for an operation, and waits until it may go on.
    fn ask(&self, machine: usize, what: &str) -> Weather {
        let mut state = self.lock();
        if state.machines[machine].dead {
            return Weather::Lost;
        }
        state.machines[machine].state = State::Asks;
        state.trace.push(format!("{machine} asks to {what}"));
        self.changed.notify_all();
        loop {
            if let State::Goes(weather) = state.machines[machine].state {
                state.machines[machine].state = State::Runs;
                return weather;
            }
            state = self.changed.wait(state).unwrap();
        }
    }

    /// Notes what a machine did.
    pub(crate) fn note(&self, what: String) {
        self.lock().trace.push(what);
    }

    /// What happened, in order.
    pub(crate) fn trace(&self) -> String {
        self.lock().trace.join("\n")
    }

    pub(crate) fn over(&self, machine: usize) {
        self.lock().machines[machine].state = State::Over;
        self.changed.notify_all();
    }

    /// Lets one operation after the other happen, until all machines are over.
    pub(crate) fn direct(&self, dice: &mut Dice) {
        loop {
            let mut state = self.lock();
            while state
                .machines
                .iter()
                .any(|m| matches!(m.state, State::Runs | State::Goes(_)))
            {
                state = self.changed.wait(state).unwrap();
            }
            let asking: Vec<usize> = (0..state.machines.len())
                .filter(|n| state.machines[*n].state == State::Asks)
                .collect();
            if asking.is_empty() {
                return;
            }
            drop(state);
            self.time_passes(dice);
            let mut state = self.lock();
            let machine = asking[dice.roll(asking.len() as u64) as usize];
            Self::befall(&mut state, machine, dice);
            let dead = state.machines[machine].dead;
            let weather = match (dead, dice.roll(120)) {
                (true, 0..60) => Weather::Unheard,
                (true, _) => Weather::Lost,
                (false, 0) => Weather::Unheard,
                (false, 1) => Weather::Lost,
                (false, _) => Weather::Fine,
            };
            state.trace.push(format!("{machine} goes on: {weather:?}"));
            state.machines[machine].state = State::Goes(weather);
            self.changed.notify_all();
        }
    }

    /// Mostly little; sometimes everybody waits for hours.
    fn time_passes(&self, dice: &mut Dice) {
        let seconds = match dice.roll(100) {
            0..70 => dice.roll(5),
            70..95 => dice.roll(20 * 60),
            95..99 => dice.roll(2 * 3600),
            _ => dice.roll(2 * 24 * 3600),
        };
        self.pass(Duration::from_secs(seconds));
    }

    fn befall(state: &mut Play, machine: usize, dice: &mut Dice) {
        let it = &mut state.machines[machine];
        match dice.roll(300) {
            0 | 1 => it.dead = true,
            2 | 3 => it.off += TimeDelta::minutes(i64::try_from(dice.roll(6000)).unwrap() - 3000),
            // Its monotonic clock stood still for a while.
            4 => it.asleep += Duration::from_secs(dice.roll(3 * 3600)),
            _ => {}
        }
    }
}

/// A machine's clocks.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) stage: Arc<Stage>,
    pub(crate) machine: usize,
}

impl Clock for Watch {
    fn wall_time(&self) -> DateTime<Utc> {
        let state = self.stage.lock();
        now() + TimeDelta::from_std(state.passed).unwrap() + state.machines[self.machine].off
    }

    fn monotonic_time(&self) -> Duration {
        let state = self.stage.lock();
        state
            .passed
            .saturating_sub(state.machines[self.machine].asleep)
    }

    fn is_real_time(&self) -> bool {
        false
    }
}

/// Which storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Home,
    Away,
}

/// A storage as a machine reaches it.
pub(crate) struct Way {
    pub(crate) stage: Arc<Stage>,
    pub(crate) machine: usize,
    pub(crate) place: Place,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Way({} {:?})", self.machine, self.place)
    }
}

impl Way {
    fn go<T>(
        &self,
        what: &str,
        key: &str,
        act: impl FnOnce(&MemoryBackend) -> BackendResult<T>,
    ) -> BackendResult<T> {
        let lost = || BackendError::Io {
            operation: "reach",
            key: key.to_owned(),
            source: "lost".into(),
        };
        let storage = self.stage.place(self.place);
        let asked = format!("{what} {key} at {:?}", self.place);
        match self.stage.ask(self.machine, &asked) {
            Weather::Fine => act(storage),
            Weather::Unheard => {
                drop(act(storage));
                Err(lost())
            }
            Weather::Lost => Err(lost()),
        }
    }
}

impl Backend for Way {
    fn location(&self) -> String {
        // At home as for who is no machine: what was seen is remembered by location.
        match self.place {
            Place::Home => self.stage.storage.location(),
            Place::Away => "away".to_owned(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            parallel_reads: 1,
            parallel_puts: 1,
            ..self.stage.storage.capabilities()
        }
    }

    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
        self.go("put", key.as_str(), |storage| storage.put(key, parts))
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
        self.go("get", key.as_str(), |storage| storage.get(key, range))
    }

    fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
        self.go("look up", key.as_str(), |storage| storage.size(key))
    }

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        self.go("list", directory, |storage| storage.list(directory))
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        self.go("delete", key.as_str(), |storage| storage.delete(key))
    }
}
