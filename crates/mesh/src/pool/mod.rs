//! The pool task: which links there are, who is dialled, who has to go.

mod ask;
mod dial;
mod rules;
mod task;

pub(crate) use self::ask::{Admission, Close, Pool};
pub(crate) use self::task::run;
