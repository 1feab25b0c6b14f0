//! A package of black-box tests; all of it is in `it/`. Never holds code of its own.
#![forbid(unsafe_code)]
