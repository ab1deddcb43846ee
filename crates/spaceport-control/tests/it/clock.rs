//! Time that passes by itself and can be skipped.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use spaceport_control::Clock;
use spaceport_core::Timestamp;
use tokio::sync::watch;

/// Any day will do.
const BEGIN: i64 = 1_800_000_000_000;

/// Time passes so much faster than real time, at most, while a test waits, …
const PACE: u32 = 20;
/// … but for so much at the beginning.
const AHEAD: Duration = Duration::from_secs(60);

/// The clock of a world: real time plus what was skipped.
#[derive(Debug, Clone)]
pub struct TestClock {
    began: Instant,
    skipped: Arc<watch::Sender<Duration>>,
    passed: Arc<Mutex<Duration>>,
    set_back: Arc<Mutex<Duration>>,
}

impl TestClock {
    pub fn new() -> Self {
        let skipped = Arc::new(watch::Sender::new(Duration::ZERO));
        Self { began: Instant::now(), skipped, passed: Arc::default(), set_back: Arc::default() }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGIN) + self.elapsed() - *self.set_back.lock().unwrap()
    }

    /// What no correction of the clock changes.
    fn elapsed(&self) -> Duration {
        self.began.elapsed() + *self.skipped.borrow()
    }

    /// Somebody corrects the clock: it shows an earlier time from now on. Whoever sleeps does so for as long as before.
    pub fn set_back(&self, time: Duration) {
        *self.set_back.lock().unwrap() += time;
    }

    /// Lets so much time pass at once; whoever waits for less is woken.
    pub fn skip(&self, time: Duration) {
        self.skipped.send_modify(|skipped| *skipped += time);
    }

    /// Lets a little time pass while a test waits for what needs time: a pause after a crash, a retry.
    /// Never much faster than the machine works, or a build on a busy one would run out of time.
    pub fn pass(&self, time: Duration) {
        let mut passed = self.passed.lock().unwrap();
        if *passed < AHEAD + self.began.elapsed() * PACE {
            *passed += time;
            self.skip(time);
        }
    }

    pub fn clock(&self) -> Clock {
        let (now, sleeper) = (self.clone(), self.clone());
        Clock::with_sleep(
            move || now.now(),
            move |time| {
                let this = sleeper.clone();
                let mut skips = this.skipped.subscribe();
                let until = this.elapsed() + time;
                Box::pin(async move {
                    loop {
                        skips.mark_unchanged();
                        let left = until.saturating_sub(this.elapsed());
                        if left.is_zero() {
                            return;
                        }
                        tokio::select! {
                            () = tokio::time::sleep(left) => {}
                            _ = skips.changed() => {}
                        }
                    }
                })
            },
        )
    }
}
