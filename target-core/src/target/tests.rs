//! The whole machine, event by event, against a model transport and a model disk.

mod commands;
mod harness;
mod immediate;
mod mapping;
mod ordering;
mod orphans;
mod random;
mod task_management;
mod teardown;
mod unmapped;
mod waiting;
