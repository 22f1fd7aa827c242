//! The first network card has its address by DHCP.

use super::judge::{Case, Fault, Finding, Look, Owner};
use super::{Kind, one_key};

one_key! { Network = "network", "the first network card gets its address by DHCP" }

impl Kind for Network {
    fn owns(&self, owner: Owner) -> bool {
        owner == Owner::Network
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        "an address by DHCP on the first network card".to_owned()
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        let seen = look.case.first.network.clone();
        seen.map(str::to_owned).map_err(Fault::Fails)
    }
}
