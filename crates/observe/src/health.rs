use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
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
    /// Its owner has said something.
    reported: bool,
    /// How it stood when [`Health::turns`] last looked; unknown before that.
    told_ok: Option<bool>,
}

impl State {
    fn set(&mut self, failure: Option<Cow<'static, str>>) {
        if self.failure.is_some() != failure.is_some() {
            self.since = Instant::now();
        }
        self.failure = failure;
        self.reported = true;
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
        let rows = self.0.rows.lock();
        let asked = rows.iter().filter(|row| scope == Scope::Ready || row.scope == Scope::Live);
        let checks: Vec<CheckState> = asked.map(Row::evaluate).collect();
        drop(rows);
        let failing = |state: &CheckState| {
            let reason = state.reason.clone()?;
            Some(Failing { check: state.check.clone(), reason, for_seconds: state.for_seconds })
        };
        Report {
            ok: checks.iter().all(|state| state.ok),
            failing: checks.iter().filter_map(failing).collect(),
            passing: checks.iter().filter(|state| state.ok).map(|state| state.check.clone()).collect(),
            checks,
            facts: self.0.facts.lock().clone(),
        }
    }

    /// The checks that stand otherwise than at the last call, for the log; at the first call those that fail. A check that
    /// nobody has reported yet is no news. Called now and then, it also keeps the times right since when a check stands as
    /// it does, whether or not anybody asks for a report.
    pub fn turns(&self) -> Vec<Turn> {
        let mut turns = Vec::new();
        for row in self.0.rows.lock().iter() {
            let now = row.evaluate();
            let mut state = row.state.lock();
            if !state.reported {
                continue;
            }
            let told = state.told_ok.replace(now.ok);
            drop(state);
            if now.ok != told.unwrap_or(true) {
                turns.push(Turn { check: now.check, reason: now.reason });
            }
        }
        turns
    }

    /// Registers `sinew_health`: a row for each check, 1 while it passes. Call it once per registry.
    pub fn export(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix(crate::metrics::PREFIX).register_collector(Box::new(self.clone()));
    }

    fn add(&self, name: Cow<'static, str>, scope: Scope, source: Source) -> Arc<Mutex<State>> {
        let now = Instant::now();
        let state = State {
            failure: Some("has not reported yet".into()),
            since: now,
            last_beat: now,
            reported: false,
            told_ok: None,
        };
        let state = Arc::new(Mutex::new(state));
        self.0.rows.lock().push(Row { name, scope, source, state: Arc::clone(&state) });
        state
    }
}

impl Row {
    fn evaluate(&self) -> CheckState {
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
        CheckState {
            check: self.name.clone(),
            ok: state.failure.is_none(),
            reason: state.failure.clone(),
            for_seconds: state.since.elapsed().as_secs_f64(),
        }
    }
}

impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 while a check of the node's health passes, 0 while it fails";
        let mut family = encoder.encode_descriptor("health", help, None, MetricType::Gauge)?;
        for state in self.report(Scope::Ready).checks {
            let label = [("check", state.check)];
            ConstGauge::new(u64::from(state.ok)).encode(family.encode_family(&label)?)?;
        }
        Ok(())
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
    /// All of them, in the order in which they were added.
    pub checks: Vec<CheckState>,
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

/// One check at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckState {
    /// Its name.
    pub check: Cow<'static, str>,
    /// Whether it passes.
    pub ok: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// For how long it has passed, or failed.
    pub for_seconds: f64,
}

/// A check that began to fail, for this reason, or to pass again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Its name.
    pub check: Cow<'static, str>,
    /// Why it fails; `None` when it passes again.
    pub reason: Option<Cow<'static, str>>,
}
