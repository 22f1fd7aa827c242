//! An ISO image. The input is what follows its first 16 sectors, which are not read; the image has room behind it.

#![no_main]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{LazyLock, Once};
use std::thread;

use libfuzzer_sys::fuzz_target;
use pipeline::internals::machine::media::iso::Iso;

const START: u64 = 16 * 2048;
const LENGTH: u64 = 96 * 2048;

static IMAGE: LazyLock<File> =
    LazyLock::new(|| tempfile::tempfile().expect("there is room for a small file"));
static HOOK: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    HOOK.call_once(|| {
        // The library that reads folders may panic over damaged ones. It does so on a thread of its own, where that is
        // caught and reported as damage: only what reaches this thread is a mistake.
        let (here, usual) = (thread::current().id(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current().id() == here {
                usual(panic);
            }
        }));
    });
    if bytes.len() as u64 > LENGTH - START {
        return;
    }
    IMAGE.set_len(0).expect("a file can be emptied");
    IMAGE.set_len(LENGTH).expect("there is room");
    IMAGE.write_all_at(bytes, START).expect("there is room");
    let path = PathBuf::from(format!("/proc/self/fd/{}", IMAGE.as_raw_fd()));
    match Iso::open(&path) {
        Ok(iso) => {
            for name in [
                "install.amd/vmlinuz",
                "/casper/initrd",
                ".treeinfo",
                "../x",
                "A/B/C",
            ] {
                let _ = iso.has(name);
                match iso.text(name) {
                    Ok(text) => assert!(iso.has(name) && !text.is_empty()),
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
