//! Recognition on this machine: for now the models that it needs, and how they get here.

pub mod models;
