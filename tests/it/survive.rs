//! What happens when things go wrong from outside, and what others may see meanwhile: `docs/reliability.md` and
//! `SECURITY.md`, line by line.

mod ends;
mod faults;
mod full;
mod isolation;
pub mod lockout;
mod seen;

use crate::chaos::{mini, unleash};
use crate::support::{Bench, tool};

/// The short form of `make chaos`. A store that no kill touched has the same images.
#[test]
fn killed_twenty_times_at_random_moments_nothing_is_lost_left_or_half_and_no_byte_differs() {
    let bench = Bench::new();
    let sizes = ["64M", "96M"];
    let at = |name: &str| mini::house(&bench.path(name), &sizes);
    let (house, calm) = (at("house"), at("calm"));
    let provisioned =
        "rm -r house/store/results/provision && cp -a calm/store/results/provision house/store/results/";
    tool("sh", &["-c", provisioned], &bench.path(""));
    let report = unleash(&house, &calm, 20, 20, &mut |_| {});
    assert!(report.is_good() && report.kills == 20, "{report}");
    for size in sizes {
        let packed = mini::packed(size);
        mini::has_content(&house, &packed);
        let [killed, calm] = [&house, &calm].map(|house| tool("sha256sum", &[&packed], &house.folder));
        assert_eq!(killed, calm);
    }
}
