//! A writer at work: it sends one step after the other, and finds out what became of a step when it got no response.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{ClientCommand, ClientConnection, QueryError};
use super::steps::{ATTEMPT, DIRECTORY, Step, StepGenerator, StepOutcome};
use super::{RecorderState, ServerFlavour, WAIT_LIMIT, now_micros};

/// Attempts at a step before something must be wrong with it.
const ATTEMPTS: u64 = 40;

/// When a step was done, in microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StepTimes {
    /// Before anything of it was sent.
    pub(super) begun: u64,
    /// Before that was sent which makes it last.
    pub(super) sent: u64,
    /// After it was known to be done.
    pub(super) acknowledged: u64,
}

/// Whoever sends the steps of one script.
pub(super) struct StepWriter {
    number: u64,
    flavour: ServerFlavour,
    client: ClientCommand,
    script: StepGenerator,
    directory: String,
    shared: Arc<RecorderState>,
    connection: Option<ClientConnection>,
}

impl StepWriter {
    pub(super) fn new(
        number: u64,
        flavour: ServerFlavour,
        client: ClientCommand,
        script: StepGenerator,
        directory: String,
        shared: Arc<RecorderState>,
    ) -> Self {
        Self {
            number,
            flavour,
            client,
            script,
            directory,
            shared,
            connection: None,
        }
    }

    pub(super) fn run_until_stopped(mut self, pause: Duration) -> Result<(), String> {
        let index = usize::try_from(self.number).unwrap();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let step = self.script.next();
            let times = self
                .perform_step(&step)
                .map_err(|error| format!("writer {} at {step:?}: {error}", self.number))?;
            self.shared.steps.lock().unwrap()[index].push(times);
            self.shared.count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(pause);
        }
        Ok(())
    }

    /// Returns once the step is known to be done.
    fn perform_step(&mut self, step: &Step) -> Result<StepTimes, String> {
        let shared = Arc::clone(&self.shared);
        let _guard = step.fragile.then(|| shared.fragile.read().unwrap());
        let mut times = StepTimes {
            begun: now_micros(),
            ..StepTimes::default()
        };
        for _ in 0..ATTEMPTS {
            match self.attempt_step(step, &mut times) {
                Ok(()) => {
                    times.acknowledged = now_micros();
                    return Ok(times);
                }
                Err(QueryError::ConnectionLost) => {
                    self.shared.retried.fetch_add(1, Ordering::Relaxed);
                }
                Err(QueryError::Rejected(error)) => return Err(error),
            }
            if self.was_done(step, &mut times)? {
                times.acknowledged = now_micros();
                return Ok(times);
            }
        }
        Err(format!("it was tried {ATTEMPTS} times"))
    }

    fn attempt_step(&mut self, step: &Step, times: &mut StepTimes) -> Result<(), QueryError> {
        let body = step.body.replace(ATTEMPT, &now_micros().to_string());
        let body = body.replace(DIRECTORY, &self.directory);
        if !body.is_empty() {
            self.ask(&body)?;
        }
        if let StepOutcome::Prepared {
            elsewhere: true, ..
        } = step.outcome
        {
            // Only once the connection is closed, MariaDB lets another one commit.
            times.sent = now_micros();
            self.connection = None;
        }
        times.sent = now_micros();
        self.ask(&format!("{};", step.commit))?;
        if !step.after.is_empty() {
            self.ask(step.after)?;
        }
        Ok(())
    }

    /// Asks over the connection; opens it if there is none.
    fn ask(&mut self, statements: &str) -> Result<Vec<String>, QueryError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.client.open(self.number, self.flavour)?,
        };
        let rows = connection.ask(statements)?;
        self.connection = Some(connection);
        Ok(rows)
    }

    /// Asks the server, as soon as it answers again, whether a step was done of which the writer did not hear.
    fn was_done(&mut self, step: &Step, times: &mut StepTimes) -> Result<bool, String> {
        let begin = Instant::now();
        loop {
            match self.query_outcome(step, times) {
                Ok(done) => return Ok(done),
                Err(QueryError::Rejected(error)) => return Err(error),
                Err(QueryError::ConnectionLost) if begin.elapsed() > WAIT_LIMIT => {
                    return Err("the server does not come back".to_owned());
                }
                Err(QueryError::ConnectionLost) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn query_outcome(&mut self, step: &Step, times: &mut StepTimes) -> Result<bool, QueryError> {
        if let StepOutcome::Ddl(query) = &step.outcome {
            let rows = self.ask(&format!("{query};"))?;
            return Ok(rows != ["0"]);
        }
        if let StepOutcome::Prepared { name, .. } = &step.outcome {
            let prepared = self.ask("XA RECOVER;")?;
            if prepared.iter().any(|line| line.ends_with(name.as_str())) {
                times.sent = now_micros();
                self.ask(&format!("{};", step.commit))?;
                return Ok(true);
            }
        }
        let query = format!(
            "SELECT number FROM bookkeeping.progress WHERE writer = {};",
            self.number
        );
        let rows = self.ask(&query)?;
        Ok(rows == [step.number.to_string()])
    }
}
