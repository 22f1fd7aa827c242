//! The host: the only code that makes operating system calls on behalf of others. Knows nothing of images.

pub mod cancel;
pub mod facts;
pub mod foreign;
pub mod fs;
pub mod http;
pub mod listener;
pub mod namespace;
pub mod packages;
pub mod private;
pub mod process;
pub mod random;
pub mod serve;
pub mod signature;
pub mod syslog;
pub mod terminal;
pub mod tools;
