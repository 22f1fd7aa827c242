//! TOML text to raw tables that keep every value's span.
