//! Where programs and people reach the running bridge.

use std::net::{Ipv4Addr, SocketAddr};

use crate::units::Wanted;

/// Where the control core listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// The address; `None` for nowhere.
    pub listen: Option<SocketAddr>,
}

impl Default for Api {
    fn default() -> Api {
        Api { listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8088))) }
    }
}

/// Reads an address and a port of this machine, or `none`. What is served is neither encrypted nor behind a password.
pub(super) fn listen(text: &str) -> Result<Option<SocketAddr>, Wanted> {
    if text == "none" {
        return Ok(None);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() && address.port() != 0 => Ok(Some(address)),
        Ok(address) if !address.ip().is_loopback() => Err(Wanted::new(
            "an address of this machine only, like \"127.0.0.1:8088\": put a proxy with TLS before it for others",
        )),
        _ => Err(Wanted::new("\"none\", or an address and a port like \"127.0.0.1:8088\" or \"[::1]:8088\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_listened_to() {
        assert_eq!(listen("none"), Ok(None));
        assert_eq!(listen("127.0.0.1:8088"), Ok(Api::default().listen));
        assert!(listen("[::1]:80").unwrap().is_some());
        for text in ["", "8088", "127.0.0.1", "127.0.0.1:0", "localhost:8088", "127.0.0.1:65536"] {
            assert!(listen(text).unwrap_err().to_string().contains("and a port"), "{text}");
        }
        for text in ["0.0.0.0:8088", "[::]:8088", "192.0.2.1:80"] {
            assert!(listen(text).unwrap_err().to_string().contains("proxy"), "{text}");
        }
    }
}
