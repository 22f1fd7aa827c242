//! The only reader of manifest, script and template files.
