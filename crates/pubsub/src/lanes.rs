use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sinew_observe::Beats;
use tokio::sync::Notify;

use crate::plan::Plan;
use crate::run::Slice;

/// Runs that wait for one delivery worker. A publisher that finds the lane full waits for room.
const LANE_JOBS: usize = 256;

/// One run for all subscribers that a lane serves on its topic.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) slice: Slice,
    pub(crate) plan: Arc<Plan>,
}

/// Queue of one delivery worker. Each subscription belongs to one lane, so that runs keep their order.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    jobs: Mutex<Jobs>,
    work: Notify,
    /// Jobs done since the start.
    done: AtomicU64,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// Jobs taken in since the start: the number of the newest.
    taken_in: u64,
    waiters: Vec<Arc<Notify>>,
}

impl Lane {
    /// Queues a job and returns its number; hands it back when the lane is full, and wakes `waiter` when it is not.
    pub(crate) fn push(&self, job: Job, waiter: &Arc<Notify>) -> Result<u64, Job> {
        let mut jobs = self.jobs.lock();
        if jobs.waiting.len() >= LANE_JOBS {
            jobs.wait(waiter);
            return Err(job);
        }
        jobs.waiting.push_back(job);
        jobs.taken_in += 1;
        let number = jobs.taken_in;
        drop(jobs);
        self.work.notify_one();
        Ok(number)
    }

    /// Whether the job with this number is done; if not, wakes `waiter` when more are.
    pub(crate) fn is_done(&self, number: u64, waiter: &Arc<Notify>) -> bool {
        if self.done.load(Ordering::Acquire) >= number {
            return true;
        }
        let mut jobs = self.jobs.lock();
        jobs.wait(waiter);
        self.done.load(Ordering::Acquire) >= number
    }

    /// Jobs that wait now.
    pub(crate) fn depth(&self) -> usize {
        self.jobs.lock().waiting.len()
    }

    /// The worker: takes all that wait at once and gives each subscriber all runs that are for it in one go.
    pub(crate) async fn work(&self, lane: usize, mut beats: Beats) {
        let mut batch = VecDeque::new();
        loop {
            std::mem::swap(&mut self.jobs.lock().waiting, &mut batch);
            if batch.is_empty() {
                tokio::select! {
                    () = self.work.notified() => {}
                    () = beats.due() => beats.beat().await,
                }
                continue;
            }
            let done = batch.len() as u64;
            deliver(batch.make_contiguous(), lane);
            batch.clear();
            self.done.fetch_add(done, Ordering::Release);
            let waiters = std::mem::take(&mut self.jobs.lock().waiters);
            for waiter in waiters {
                waiter.notify_one();
            }
            beats.beat().await;
            tokio::task::yield_now().await;
        }
    }
}

impl Jobs {
    fn wait(&mut self, waiter: &Arc<Notify>) {
        if !self.waiters.iter().any(|known| Arc::ptr_eq(known, waiter)) {
            self.waiters.push(Arc::clone(waiter));
        }
    }
}

fn deliver(jobs: &[Job], lane: usize) {
    for same_plan in jobs.chunk_by(|a, b| Arc::ptr_eq(&a.plan, &b.plan)) {
        for subscription in same_plan[0].plan.lane(lane) {
            subscription.push(same_plan.iter().map(|job| job.slice.clone()));
        }
    }
}

/// Capacity of one lane, for the metric.
pub(crate) const fn capacity() -> usize {
    LANE_JOBS
}
