//! A port answers through the NAT; on 22 with the greeting of SSH.

use serde_json::Value;

use super::judge::{Case, Fault, Finding, Look, Owner};
use super::{Kind, Needs, one_key};
use crate::syntax::row::Whole;

/// Port of SSH.
pub const SSH: u16 = 22;

one_key! {
    Port(u16): Whole<u16, 1, 65_535> = "port", "22",
    "the port is open through the NAT; on 22 sshd greets"
}

impl Kind for Port {
    fn name(&self) -> Option<String> {
        Some(format!("port-{}", self.0))
    }

    fn input(&self) -> Value {
        self.0.into()
    }

    fn needs(&self) -> Needs {
        Needs {
            port: Some(self.0),
            ..Needs::default()
        }
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        match self.0 {
            SSH => "sshd to greet at port 22".to_owned(),
            port => format!("port {port} to be open"),
        }
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        let first = look.case.first;
        if let Err(why) = &first.network {
            return Err(look.fault(Owner::Network, why));
        }
        let knocked = first.ports.get(&self.0).cloned();
        knocked
            .unwrap_or_else(|| Err("the port was not tried".to_owned()))
            .map_err(Fault::Fails)
    }
}
