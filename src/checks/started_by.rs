//! What started the guest, by its kernel's word: it has EFI variables, or it has none; one of them says whether the firmware
//! started signed boot loaders only.

use std::time::Duration;

use super::judge::Fault::Fails;
use super::judge::{Case, Finding, Look, brief};
use super::{Kind, Needs, Question, one_key};
use crate::platform::Start;
use crate::syntax::row::Choice;

/// The variable is defined by the UEFI specification (3.3); four bytes of attributes are before its one byte.
const ASK: &str = "efi=/sys/firmware/efi
if [ ! -d $efi ]; then
    echo bios
elif od -An -t u1 -j 4 $efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c | grep -q 1; then
    echo secure-boot
else
    echo uefi
fi";
const LIMIT: Duration = Duration::from_secs(10);

one_key! {
    StartedBy(Start): Choice<Start> = "started_by", "\"secure-boot\"",
        "this firmware started it, as its kernel says: `bios`, `uefi`, or `secure-boot`"
}

impl Kind for StartedBy {
    fn input(&self) -> serde_json::Value {
        self.0.name().into()
    }

    fn needs(&self) -> Needs {
        Needs {
            question: Some(Question::Command(ASK.to_owned(), LIMIT)),
            ..Needs::default()
        }
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        format!("a guest started by {}", self.0.name())
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        let said = look.answer()?.output.trim();
        match said == self.0.name() {
            true => Ok(said.to_owned()),
            false => Err(Fails(brief(said))),
        }
    }
}
