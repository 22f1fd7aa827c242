//! Plain `http://` through an HTTP proxy the way proxies expect it: the whole URL in the request line (RFC 9112
//! §3.2.2), not a CONNECT tunnel. Many proxies refuse CONNECT to any port but 443, and none can cache through it;
//! ureq itself only knows CONNECT.

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};

/// An agent that sends every request to the proxy. `config` must name no proxy itself.
pub(super) fn agent(config: Config, proxy: Uri) -> Agent {
    let connector = ToProxy {
        proxy: proxy.clone(),
        inner: DefaultConnector::new(),
    };
    let resolver = ProxyResolver {
        proxy,
        inner: DefaultResolver::default(),
    };
    Agent::with_parts(config, connector, resolver)
}

/// Looks up the proxy's name, whatever the target.
#[derive(Debug)]
struct ProxyResolver {
    proxy: Uri,
    inner: DefaultResolver,
}

impl Resolver for ProxyResolver {
    fn resolve(
        &self,
        _target: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.inner.resolve(&self.proxy, config, timeout)
    }
}

/// Connects to the proxy (with TLS when the proxy's own URL says https).
#[derive(Debug)]
struct ToProxy {
    proxy: Uri,
    inner: DefaultConnector,
}

impl Connector<()> for ToProxy {
    type Out = AbsoluteForm;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<AbsoluteForm>, ureq::Error> {
        let to_proxy = ConnectionDetails {
            uri: &self.proxy,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let place = details.uri.authority().map_or("", |a| a.as_str());
        let inner = self.inner.connect(&to_proxy, None)?;
        Ok(inner.map(|inner| AbsoluteForm {
            inner,
            prefix: format!("http://{place}").into_bytes(),
            sent: false,
        }))
    }
}

/// Puts scheme and host into the request line.
#[derive(Debug)]
struct AbsoluteForm {
    inner: Box<dyn Transport>,
    prefix: Vec<u8>,
    /// Whether the request line has gone: each connection carries one request, and what follows is its body.
    sent: bool,
}

impl Transport for AbsoluteForm {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let output = self.inner.buffers().output();
        let method = output[..amount].iter().position(|byte| *byte == b' ');
        let from = method.map_or(0, |end| end + 1);
        let to = from + self.prefix.len();
        let starts = !self.sent && from < amount && output[from] == b'/';
        self.sent = true;
        let longer = if starts { self.prefix.len() } else { 0 };
        if output.len() < amount + longer {
            return Err(ureq::Error::Io(std::io::Error::other("the request is too long")));
        }
        if starts {
            output.copy_within(from..amount, to);
            output[from..to].copy_from_slice(&self.prefix);
        }
        self.inner.transmit_output(amount + longer, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
