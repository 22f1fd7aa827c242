//! Which proxy, if any, leads to a URL: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` as curl reads them.
//! Loopback addresses are never asked for through a proxy. Pure: the environment comes in as a function.

use std::net::IpAddr;

/// The proxies of an environment.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Named>,
    https: Option<Named>,
    all: Option<Named>,
    none_for: Vec<String>,
}

/// A proxy and the variable that names it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) variable: String,
    pub(super) url: String,
}

impl std::fmt::Debug for Proxies {
    /// Names only the variables: their values may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set = [&self.http, &self.https, &self.all];
        let set = set.into_iter().flatten().map(|p| &p.variable);
        f.debug_set().entries(set).finish()
    }
}

impl Proxies {
    /// Those of this process's environment.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Those of any environment. Lower-case names win over upper-case ones.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let named = |name: &str| {
            [name.to_owned(), name.to_uppercase()]
                .into_iter()
                .find_map(|variable| {
                    let value = lookup(&variable)?.trim().to_owned();
                    let url = if value.contains("://") {
                        value
                    } else {
                        format!("http://{value}")
                    };
                    (url != "http://").then_some(Named { variable, url })
                })
        };
        let none_for = lookup("no_proxy")
            .or_else(|| lookup("NO_PROXY"))
            .unwrap_or_default();
        Self {
            http: named("http_proxy"),
            https: named("https_proxy"),
            all: named("all_proxy"),
            none_for: none_for
                .split([',', ' '])
                .filter(|entry| !entry.is_empty())
                .map(str::to_ascii_lowercase)
                .collect(),
        }
    }

    /// Host and port of each, without names and passwords.
    pub fn hosts(&self) -> Vec<String> {
        let set = [&self.http, &self.https, &self.all];
        let host = |proxy: &Named| {
            let (_, rest) = proxy.url.split_once("://")?;
            let authority = rest.split('/').next()?;
            let host = authority.rsplit('@').next()?;
            (!host.is_empty()).then(|| host.to_owned())
        };
        let mut hosts: Vec<_> = set.into_iter().flatten().filter_map(host).collect();
        hosts.dedup();
        hosts
    }

    /// The proxy for a scheme, host and port.
    pub(super) fn find(&self, scheme: &str, host: &str, port: u16) -> Option<&Named> {
        if is_loopback(host) || self.none_for.iter().any(|entry| exempts(entry, host, port)) {
            return None;
        }
        let own = if scheme == "https" {
            &self.https
        } else {
            &self.http
        };
        own.as_ref().or(self.all.as_ref())
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether one entry of `no_proxy` covers a host: `*`, a domain (with or without leading dot, and what is below it),
/// an address, a network as `10.0.0.0/8`; each may end in `:port`.
fn exempts(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let host = host.to_ascii_lowercase();
    if let Ok(ip) = host.parse::<IpAddr>() {
        if let Some((network, bits)) = entry.split_once('/') {
            return in_network(ip, network, bits);
        }
        if entry.trim_matches(['[', ']']).parse() == Ok(ip) {
            return true;
        }
    }
    let name = match entry.rsplit_once(':') {
        Some((name, number)) if number.parse() == Ok(port) => name,
        Some((_, number)) if number.parse::<u16>().is_ok() => return false,
        _ => entry,
    };
    let name = name.trim_start_matches("*.").trim_start_matches('.');
    let name = name.trim_matches(['[', ']']);
    host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

fn in_network(ip: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_lookup(|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn each_scheme_has_its_variable_and_all_proxy_stands_in() {
        let p = proxies(&[
            ("http_proxy", "cache:3128"),
            ("HTTP_PROXY", "http://loser"),
            ("all_proxy", "socks5h://gate"),
        ]);
        let url = |scheme| p.find(scheme, "mirror.example", 80).unwrap().url.as_str();
        assert_eq!(url("http"), "http://cache:3128");
        assert_eq!(url("https"), "socks5h://gate");
        assert!(proxies(&[("http_proxy", "")]).find("http", "a", 80).is_none());
    }

    #[test]
    fn loopback_and_no_proxy_go_straight() {
        let p = proxies(&[
            ("all_proxy", "http://joe:s3cret@cache"),
            (
                "no_proxy",
                "corp.example, .dot.example,10.0.0.0/8,one.example:8080,192.0.2.7",
            ),
        ]);
        assert!(!format!("{p:?}").contains("s3cret"));
        for direct in [
            "localhost",
            "127.0.0.1",
            "127.8.9.1",
            "::1",
            "x.localhost",
            "corp.example",
        ] {
            assert!(p.find("http", direct, 80).is_none(), "{direct}");
        }
        for direct in [
            "CORP.example",
            "a.corp.example",
            "dot.example",
            "10.1.2.3",
            "192.0.2.7",
        ] {
            assert!(p.find("http", direct, 80).is_none(), "{direct}");
        }
        for proxied in [
            "notcorp.example",
            "11.1.2.3",
            "one.example",
            "128.0.0.1",
            "192.0.2.70",
        ] {
            assert!(p.find("http", proxied, 80).is_some(), "{proxied}");
        }
        assert!(p.find("http", "one.example", 8080).is_none());
    }
}
