//! Bounded queues with overflow policies, credit windows and a shared memory budget
