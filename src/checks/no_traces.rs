//! Nothing of the build is left in the image.

use super::judge::{Case, Finding, Look};
use super::{Kind, Needs, one_key};

one_key! {
    NoTraces = "no_traces",
    "in no file is the build key left; no setting of the build, no address of the build host or of its proxy"
}

impl Kind for NoTraces {
    fn needs(&self) -> Needs {
        Needs {
            reads_all: true,
            ..Needs::fact("traces")
        }
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        "nothing of the build left".to_owned()
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        look.answer()?.must_be_empty()
    }
}
