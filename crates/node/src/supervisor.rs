//! Whoever looks at the machine, at the clock and at the owner's word, and tells the worker.
//!
//! A thread looks every second; a look can also be asked for, and a new word of the owner's is obeyed
//! at once.
//!
//! Invariants:
//! - A verdict that was returned has been obeyed.
//! - A word that was taken is on the disk.
//!
//! Not here: what the verdict is (`preferences`), doing it (`worker`).

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use crate::home::Home;
use crate::preferences::{Conditions, Mode, Preferences, TrafficNow, Verdict, judge};
use crate::remembered::{Month, Remembered, RememberedError};
use crate::sensors::Sensors;
use crate::traffic::Traffic;
use crate::worker::Worker;

/// Time from one look to the next.
pub const LOOK: Duration = Duration::from_secs(1);
/// Seconds after which the month's traffic is kept again, at least: what a kill may forget.
const KEEP: u64 = 60;

/// A worker's supervisor.
#[derive(Debug)]
pub struct Supervisor {
    worker: Arc<Worker>,
    preferences: Preferences,
    remembered: Remembered,
    traffic: Traffic,
    state: Mutex<State>,
}

/// What a look found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The owner's word.
    pub mode: Mode,
    /// What was measured.
    pub conditions: Conditions,
    /// What follows.
    pub verdict: Verdict,
}

#[derive(Debug)]
struct State {
    sensors: Sensors,
    mode: Mode,
    month: Month,
    /// When the month's traffic was last kept, and how many bytes it had.
    kept: (u64, u64),
    /// Bytes above the rate, and when they were counted, in milliseconds.
    debt: (u64, u64),
    verdict: Verdict,
}

impl Supervisor {
    /// A supervisor that has looked once. Sensors are under `root`.
    ///
    /// # Errors
    /// When what the worker remembers cannot be read.
    pub fn start(
        worker: Arc<Worker>,
        preferences: Preferences,
        home: &Home,
        root: &Path,
        now: SystemTime,
    ) -> Result<Supervisor, RememberedError> {
        let remembered = Remembered::at(home.worker());
        let (mode, month) = (remembered.mode()?, remembered.month()?);
        let state = State {
            sensors: Sensors::new(root, home.path()),
            mode,
            month,
            kept: (0, month.bytes),
            debt: (0, milliseconds(now)),
            verdict: Verdict::default(),
        };
        let (traffic, state) = (Traffic::default(), Mutex::new(state));
        let supervisor = Supervisor { worker, preferences, remembered, traffic, state };
        supervisor.look(now);
        Ok(supervisor)
    }

    /// The worker.
    #[must_use]
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Where bytes to and from others are counted.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// Measures, judges, and has the worker obey.
    pub fn look(&self, now: SystemTime) -> Report {
        self.look_with(&mut self.state(), now)
    }

    /// Takes the owner's word, and looks.
    ///
    /// # Errors
    /// When the word cannot be kept; it is then not taken.
    pub fn set(&self, mode: Mode, now: SystemTime) -> Result<Report, RememberedError> {
        let mut state = self.state();
        self.remembered.keep_mode(mode)?;
        state.mode = mode;
        Ok(self.look_with(&mut state, now))
    }

    /// The next moment at which clocks here show a time of the day such as `18:00`.
    #[must_use]
    pub fn next_time(&self, now: SystemTime, time: &str) -> Option<u64> {
        self.state().sensors.next_time(milliseconds(now) / 1000, time)
    }

    /// Looks every second, on a thread that ends with the guard or the supervisor.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn watch(self: &Arc<Supervisor>) -> std::io::Result<SyncSender<()>> {
        let (guard, wait) = sync_channel(0);
        let supervisor: Weak<Supervisor> = Arc::downgrade(self);
        std::thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
            while wait.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let Some(supervisor) = supervisor.upgrade() else { return };
                supervisor.look(SystemTime::now());
            }
        })?;
        Ok(guard)
    }

    fn look_with(&self, state: &mut State, now: SystemTime) -> Report {
        let mut conditions = state.sensors.read(now);
        conditions.traffic = self.count(state, now, conditions.now);
        if state.mode.at(conditions.now) != state.mode {
            state.mode = state.mode.at(conditions.now);
            // A pause whose file stays has ended all the same: its end is in it.
            self.warn(self.remembered.keep_mode(state.mode));
        }
        let verdict = judge(&self.preferences, state.mode, &conditions, &state.verdict);
        self.worker.obey(&verdict, conditions.now, self.preferences.suspend_max);
        state.verdict = verdict.clone();
        Report { mode: state.mode, conditions, verdict }
    }

    /// Books the bytes since the last look.
    fn count(&self, state: &mut State, now: SystemTime, seconds: u64) -> TrafficNow {
        let bytes = self.traffic.take();
        let month = state.sensors.month(seconds);
        if let Some(((year, month), _)) = month
            && (year, month) != (state.month.year, state.month.month)
        {
            state.month = Month { year, month, bytes: 0 };
        }
        state.month.bytes = state.month.bytes.saturating_add(bytes);
        let (kept_at, kept) = state.kept;
        if kept != state.month.bytes && seconds.saturating_sub(kept_at) >= KEEP {
            state.kept = (seconds, state.month.bytes);
            self.warn(self.remembered.keep_month(&state.month));
        }
        let (debt, counted) = state.debt;
        let elapsed = milliseconds(now).saturating_sub(counted);
        let paid = self.preferences.rate_max.map_or(u64::MAX, |rate| {
            u64::try_from(u128::from(rate) * u128::from(elapsed) / 1000).unwrap_or(u64::MAX)
        });
        let debt = debt.saturating_add(bytes).saturating_sub(paid);
        state.debt = (debt, milliseconds(now));
        TrafficNow { month: state.month.bytes, month_end: month.map(|(_, end)| end), debt }
    }

    fn warn(&self, kept: Result<(), RememberedError>) {
        if let Err(error) = kept {
            tracing::warn!(%error, "what the worker should remember could not be kept");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let state = self.state();
        if state.kept.1 != state.month.bytes {
            self.warn(self.remembered.keep_month(&state.month));
        }
    }
}

fn milliseconds(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
