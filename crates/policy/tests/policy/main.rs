//! Tests of the policy crate through its public surface, as one executable. Never reaches into its modules.

mod attacks;
mod audit_mode;
mod conditions;
mod evidence;
mod fixture;
mod installs;
mod opening;
mod properties;
mod rulebook;
