//! The dashboard: pages, their fragments, and what they are made of.
//!
//! This part is pure: values in, HTML out. [`view`] holds one plain struct per page, rendered by a template folder of the
//! same name; [`charts`] computes every position of a drawing, so that templates do no arithmetic; [`mod@format`] prints
//! numbers, money and times; [`assets`] hands out the files under `static/`. Nothing here reads a store, a clock or a
//! request. Templates escape every value; the content security policy allows no inline script and no inline style.

pub mod assets;
pub mod charts;
pub mod format;
pub mod view;
