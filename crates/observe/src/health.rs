use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

/// Named checks of one node, fed by the tasks that own what is checked. Cloning it shares the checks.
///
/// Every check fails until its owner says otherwise, and fails again when its owner is gone: health is reported by
/// those who are alive, never assumed.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rows: Mutex<Vec<Row>>,
    facts: Mutex<BTreeMap<&'static str, Value>>,
}

/// Which question a check answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Is the process worth keeping? A failure asks for a restart. Counts for readiness too.
    Live,
    /// Should clients be sent here now?
    Ready,
}

#[derive(Debug)]
struct Row {
    name: Cow<'static, str>,
    scope: Scope,
    source: Source,
    state: Arc<Mutex<State>>,
}

enum Source {
    /// The owner reports through a [`Check`].
    Reported,
    /// The owner reports through a [`Heartbeat`], at least this often.
    Heartbeat(Duration),
    /// Asked at every report.
    Probe(Box<dyn Fn() -> Result<(), String> + Send + Sync>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported => f.write_str("Reported"),
            Self::Heartbeat(silence) => write!(f, "Heartbeat({silence:?})"),
            Self::Probe(_) => f.write_str("Probe"),
        }
    }
}

#[derive(Debug)]
struct State {
    failure: Option<Cow<'static, str>>,
    since: Instant,
    last_beat: Instant,
}

impl State {
    fn set(&mut self, failure: Option<Cow<'static, str>>) {
        if self.failure.is_some() != failure.is_some() {
            self.since = Instant::now();
        }
        self.failure = failure;
    }
}

/// One check, held by the task that owns what it is about. Fails for good when it is dropped.
#[derive(Debug)]
pub struct Check {
    state: Arc<Mutex<State>>,
}

impl Check {
    /// All is well.
    pub fn pass(&self) {
        self.state.lock().set(None);
    }

    /// It is not, because of `reason`.
    pub fn fail(&self, reason: impl Into<Cow<'static, str>>) {
        self.state.lock().set(Some(reason.into()));
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.fail("its task has ended");
    }
}

/// A check that passes while its owner comes round often enough. Fails for good when it is dropped.
#[derive(Debug)]
pub struct Heartbeat {
    check: Check,
}

impl Heartbeat {
    /// The owner came round.
    pub fn beat(&self) {
        let mut state = self.check.state.lock();
        state.last_beat = Instant::now();
        state.set(None);
    }
}

impl Health {
    /// Without any check: live and ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check, failing until its owner reports.
    pub fn check(&self, name: impl Into<Cow<'static, str>>, scope: Scope) -> Check {
        Check { state: self.add(name.into(), scope, Source::Reported) }
    }

    /// Adds a check that fails when `silence` passes without a beat.
    pub fn heartbeat(&self, name: impl Into<Cow<'static, str>>, scope: Scope, silence: Duration) -> Heartbeat {
        Heartbeat { check: Check { state: self.add(name.into(), scope, Source::Heartbeat(silence)) } }
    }

    /// Adds a check that is asked at every report. It has to answer at once, and must not call [`Health`].
    pub fn probe(
        &self,
        name: impl Into<Cow<'static, str>>,
        scope: Scope,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add(name.into(), scope, Source::Probe(Box::new(probe)));
    }

    /// States something that is neither good nor bad, such as `open`, in every report.
    pub fn state_fact(&self, name: &'static str, value: impl Into<Value>) {
        self.0.facts.lock().insert(name, value.into());
    }

    /// How things stand. [`Scope::Ready`] covers all checks, [`Scope::Live`] only its own.
    pub fn report(&self, scope: Scope) -> Report {
        let mut report =
            Report { ok: true, failing: Vec::new(), passing: Vec::new(), facts: self.0.facts.lock().clone() };
        for row in self.0.rows.lock().iter().filter(|row| scope == Scope::Ready || row.scope == Scope::Live) {
            match row.evaluate() {
                None => report.passing.push(row.name.clone()),
                Some(failing) => report.failing.push(failing),
            }
        }
        report.ok = report.failing.is_empty();
        report
    }

    fn add(&self, name: Cow<'static, str>, scope: Scope, source: Source) -> Arc<Mutex<State>> {
        let now = Instant::now();
        let state = State { failure: Some("has not reported yet".into()), since: now, last_beat: now };
        let state = Arc::new(Mutex::new(state));
        self.0.rows.lock().push(Row { name, scope, source, state: Arc::clone(&state) });
        state
    }
}

impl Row {
    fn evaluate(&self) -> Option<Failing> {
        let mut state = self.state.lock();
        match &self.source {
            Source::Reported => {}
            Source::Heartbeat(silence) => {
                let silent = state.last_beat.elapsed();
                if state.failure.is_none() && silent > *silence {
                    state.set(Some(format!("no sign of life for more than {} ms", silence.as_millis()).into()));
                }
            }
            Source::Probe(probe) => {
                let failure = probe().err().map(Cow::from);
                state.set(failure);
            }
        }
        let reason = state.failure.clone()?;
        Some(Failing { check: self.name.clone(), reason, for_seconds: state.since.elapsed().as_secs_f64() })
    }
}

/// How things stood at one moment. Serialized as the answer of `/livez` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether nothing fails.
    pub ok: bool,
    /// What fails.
    pub failing: Vec<Failing>,
    /// Names of what passes.
    pub passing: Vec<Cow<'static, str>>,
    /// Facts, see [`Health::state_fact`].
    #[serde(flatten)]
    pub facts: BTreeMap<&'static str, Value>,
}

/// A check that fails.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failing {
    /// Its name.
    pub check: Cow<'static, str>,
    /// Why.
    pub reason: Cow<'static, str>,
    /// For how long.
    pub for_seconds: f64,
}
