//! The product as a user meets it: its binary, its ports, the real model, real calls.

mod audiosocket;
mod bad_input;
mod call;
mod chaos;
mod control;
mod delivery;
mod desk;
mod drain;
mod foreign;
mod full_disk;
mod layering;
mod models;
mod nothing;
mod overload;
mod peers;
#[path = "../support/postgres.rs"]
mod postgres;
mod product;
mod recognizers;
mod recording;
mod records;
mod sign_in;
#[path = "../support/disk.rs"]
mod small_disk;
