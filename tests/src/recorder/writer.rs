//! A writer at work: it sends one step after the other, and finds out what became of a step when it got no answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Client, Line, Trouble};
use super::steps::{ATTEMPT, FOLDER, Outcome, Script, Step};
use super::{Flavour, PATIENCE, Shared, now};

/// Attempts at a step before something must be wrong with it.
const ATTEMPTS: u64 = 40;

/// When a step was done, in microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// Before anything of it was sent.
    pub(super) begun: u64,
    /// Before that was sent which makes it last.
    pub(super) sent: u64,
    /// After it was known to be done.
    pub(super) acknowledged: u64,
}

/// Whoever sends the steps of one script.
pub(super) struct Writer {
    number: u64,
    flavour: Flavour,
    client: Client,
    script: Script,
    folder: String,
    shared: Arc<Shared>,
    line: Option<Line>,
}

impl Writer {
    pub(super) fn new(
        number: u64,
        flavour: Flavour,
        client: Client,
        script: Script,
        folder: String,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            number,
            flavour,
            client,
            script,
            folder,
            shared,
            line: None,
        }
    }

    pub(super) fn work(mut self, pause: Duration) -> Result<(), String> {
        let index = usize::try_from(self.number).unwrap();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let step = self.script.next();
            let times = self
                .perform(&step)
                .map_err(|error| format!("writer {} at {step:?}: {error}", self.number))?;
            self.shared.steps.lock().unwrap()[index].push(times);
            self.shared.count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(pause);
        }
        Ok(())
    }

    /// Returns once the step is known to be done.
    fn perform(&mut self, step: &Step) -> Result<Times, String> {
        let shared = Arc::clone(&self.shared);
        let _alive = step.fragile.then(|| shared.fragile.read().unwrap());
        let mut times = Times {
            begun: now(),
            ..Times::default()
        };
        for _ in 0..ATTEMPTS {
            match self.attempt(step, &mut times) {
                Ok(()) => {
                    times.acknowledged = now();
                    return Ok(times);
                }
                Err(Trouble::Broken) => {
                    self.shared.broken.fetch_add(1, Ordering::Relaxed);
                }
                Err(Trouble::Refused(error)) => return Err(error),
            }
            if self.was_done(step, &mut times)? {
                times.acknowledged = now();
                return Ok(times);
            }
        }
        Err(format!("it was tried {ATTEMPTS} times"))
    }

    fn attempt(&mut self, step: &Step, times: &mut Times) -> Result<(), Trouble> {
        let body = step.body.replace(ATTEMPT, &now().to_string());
        let body = body.replace(FOLDER, &self.folder);
        if !body.is_empty() {
            self.ask(&body)?;
        }
        if let Outcome::Prepared {
            elsewhere: true, ..
        } = step.outcome
        {
            // Only once the connection is gone, MariaDB lets another one commit.
            times.sent = now();
            self.line = None;
        }
        times.sent = now();
        self.ask(&format!("{};", step.commit))?;
        if !step.after.is_empty() {
            self.ask(step.after)?;
        }
        Ok(())
    }

    /// Asks over the connection; opens it if there is none.
    fn ask(&mut self, statements: &str) -> Result<Vec<String>, Trouble> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.client.open(self.number, self.flavour)?,
        };
        let answer = line.ask(statements)?;
        self.line = Some(line);
        Ok(answer)
    }

    /// Asks the server, as soon as it answers again, whether a step was done of which the writer did not hear.
    fn was_done(&mut self, step: &Step, times: &mut Times) -> Result<bool, String> {
        let begin = Instant::now();
        loop {
            match self.find_out(step, times) {
                Ok(done) => return Ok(done),
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Broken) if begin.elapsed() > PATIENCE => {
                    return Err("the server does not come back".to_owned());
                }
                Err(Trouble::Broken) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn find_out(&mut self, step: &Step, times: &mut Times) -> Result<bool, Trouble> {
        if let Outcome::Definition(question) = &step.outcome {
            let answer = self.ask(&format!("{question};"))?;
            return Ok(answer != ["0"]);
        }
        if let Outcome::Prepared { name, .. } = &step.outcome {
            let prepared = self.ask("XA RECOVER;")?;
            if prepared.iter().any(|line| line.ends_with(name.as_str())) {
                times.sent = now();
                self.ask(&format!("{};", step.commit))?;
                return Ok(true);
            }
        }
        let question = format!(
            "SELECT number FROM bookkeeping.progress WHERE writer = {};",
            self.number
        );
        let answer = self.ask(&question)?;
        Ok(answer == [step.number.to_string()])
    }
}
