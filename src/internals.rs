//! What integration tests, benchmarks and fuzz targets call. Everything else is private to the crate, so that the
//! compiler finds what nothing uses: add an item here when a test needs it, and take it out with the test.

pub mod boot {

    pub mod agent {
        pub use crate::boot::agent::{Outcome, Report, Watch, reporting_to};
    }
}

pub mod boot_command {
    pub use crate::boot_command::{Action, actions, mask, parse};
}

pub mod checks {
    pub use crate::checks::{Agent, BootsWithin, Check, CheckSet, Command, Identity, Network, NoTraces};
}

pub mod deciding {
    pub use crate::deciding::cause;
}

pub mod digest {
    pub use crate::digest::{Algorithm, Digest, Hasher, sha256_hex};
}

pub mod event {
    pub use crate::emit::Emitter;
    pub use crate::event::{
        CheckOutcome, CheckResult, Event, FailureInfo, ImageInfo, NodeInfo, Outcome, Stream, Unit,
        WantedImage, What,
    };
    pub use crate::verdict::Verdict;
}

pub mod farm {

    pub mod workspace {
        pub use crate::farm::workspace::{Workspace, WorkspaceError};
    }
}

pub mod guest {
    pub use crate::guest::CHECK;
}

pub mod host {

    pub mod cancel {
        pub use crate::host::cancel::Cancel;
    }

    pub mod facts {
        pub use crate::host::facts::{Accelerator, AptSources, accelerator, os_release};
    }

    pub mod fs {
        pub use crate::host::fs::hash_file;
    }

    pub mod http {
        pub use crate::host::http::{Client, Limits, Proxies};

        pub mod send {
            pub use crate::host::http::send::{Method, Outgoing};
        }
    }

    pub mod namespace {
        pub use crate::host::namespace::as_root;
    }

    pub mod process {
        pub use crate::host::process::Output;
    }

    pub mod serve {

        pub mod request {
            pub use crate::host::serve::request::{Bounds, read};
        }
    }

    pub mod tools {
        pub use crate::host::tools::ARCHIVE_KEYS;
    }
}

#[cfg(feature = "import-packer")]
pub mod import {

    pub mod packer {
        pub use crate::import::packer::{Config, Found, Input, LARGEST_FILE, Request, answers, import};
    }

    pub mod path {
        pub use crate::import::path::{folder, join, name};
    }
}

pub mod machine {

    pub mod argv {
        pub use crate::machine::argv::{Parts, Sandbox, Sockets, argv};
    }

    pub mod console {
        pub use crate::machine::console::Trouble;
    }

    pub mod disk {
        pub use crate::machine::disk::{
            DiskError, Ext4, FEATURES, FileSystem, Image, Layer, Layers, Partition, Put, Skeleton, StartsBy,
            TableKind, check_image, convert, create_overlay, create_raw, descriptor_blocks, grow_ext,
            grow_last_partition, look, look_as, make_esp, make_ext4, must_fill, probe, punch_free_blocks,
            put, read_table, resize, root, tree, verify_ext, write_root_table,
        };
    }

    pub mod door {
        pub use crate::machine::door::{BOOT_SCRIPT, Content, Door, Posted, Visit};
    }

    pub mod ending {
        pub use crate::machine::ending::{Down, Stopped};
    }

    pub mod error {
        pub use crate::machine::error::{MachineError, Reach};
    }

    pub mod media {

        pub mod initrd {
            pub use crate::machine::media::initrd::append;
        }

        pub mod iso {
            pub use crate::machine::media::iso::Iso;
        }

        pub mod treeinfo {
            pub use crate::machine::media::treeinfo::images;
        }
    }

    pub mod qemu {
        pub use crate::machine::qemu::Machine;
    }

    pub mod seed {
        pub use crate::machine::seed::Seed;
    }

    pub mod spec {
        pub use crate::machine::spec::{Accel, Boot, Disk, DiskFormat, MachineSpec};
    }

    pub mod ssh {
        pub use crate::machine::ssh::{KEY_NAME, Key, Ssh, SshAddress, SshError};
    }
}

pub mod manifest {
    pub use crate::manifest::{Manifest, load, load_text};

    pub mod context {
        pub use crate::manifest::context::Context;
    }

    pub mod model {
        pub use crate::manifest::model::{AnsibleStep, Compression, Template};
    }

    pub mod select {
        pub use crate::manifest::select::{Selectors, select};
    }

    pub mod template {
        pub use crate::manifest::template::{render, render_builtin};
    }
}

pub mod packages {
    pub use crate::packages::PackageChange;
}

pub mod places {
    pub use crate::places::retry::Policy;
    pub use crate::places::shacache::config::Config;
    pub use crate::places::{Around, Destination, Http, Item, Keep, Login, Metadata, Target, Verify, upload};

    pub mod versions {
        pub use crate::places::versions::{Version, VersionFile};
    }
}

pub mod platform {
    pub use crate::platform::{Computer, Platform, Start};
}

pub mod report {
    pub use crate::report::{Options, Progress, Verbosity, run};

    pub mod board {
        pub use crate::report::board::Board;
    }

    pub mod gallery {
        pub use crate::report::gallery::{Gallery, Image, Version, feed, page};
    }

    pub mod junit {
        pub use crate::report::junit::render;
    }

    pub mod style {
        pub use crate::report::style::Style;
    }

    pub mod summary {
        pub use crate::report::summary::{Page, RunSummary};
    }
}

pub mod run {

    pub mod execute {
        pub use crate::run::execute::{Shared, execute};
    }

    pub mod prepare {
        pub use crate::run::prepare::{Ask, prepare};
    }
}

pub mod size {
    pub use crate::size::{ByteSize, GIB, MIB, TIB, show_duration};
}

pub mod stage {
    pub use crate::stage::{Order, Room, Site};

    pub mod aftermath {
        pub use crate::stage::aftermath::OnError;
    }

    pub mod check {
        pub use crate::stage::check::{Artifact, CheckWork, WayIn, check};
    }

    pub mod distro {
        pub use crate::stage::distro::{GuestAccess, GuestLogin, MachineWish};
    }

    pub mod error {
        pub use crate::stage::error::StageError;
    }

    pub mod fetch {
        pub use crate::stage::fetch::{FetchError, Fetched, Fetcher, MediaAt, Spec};
    }

    pub mod install {
        pub use crate::stage::install::{DiskWork, disk};
    }

    pub mod package {
        pub use crate::stage::package::{Earlier, PackageError, Packaged, Spec, package, package_in, unpack};
    }

    pub mod provision {
        pub use crate::stage::provision::{Action, PlannedStep, Provisioned, Root, flatten};

        pub mod ansible {
            pub use crate::stage::provision::ansible::playbook;
        }
    }

    pub mod size {
        pub use crate::stage::size::{SizeWork, size};
    }

    pub mod sums {
        pub use crate::stage::sums::{STAGE, deliver, file_name, merge};
    }

    pub mod versions {
        pub use crate::stage::versions::Versions;
    }
}

pub mod store {
    pub use crate::store::{Claim, Store};
}

pub mod took {
    pub use crate::took::{By, Job, Times};
}
