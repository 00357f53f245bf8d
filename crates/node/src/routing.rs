//! Ask where content is: delegated routing over HTTP.
//!
//! Specified in <https://specs.ipfs.tech/routing/http-routing-v1/>. Answers are untrusted: they name
//! places to fetch from, and what is fetched is checked.
//!
//! Invariants:
//! - Nobody is asked whom the user has not named.
//! - An answer is bounded in bytes, records and time before it is used.
//! - Nobody leads this node to its own machine or LAN from farther away than that.
//!
//! Not here: fetching (`fetch`), and TLS to the places that are found.

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use store::cid::Cid;
use ureq::http::header::{ACCEPT, CONTENT_TYPE};

use crate::fetch::http::{Gateway, Tcp};

/// Endpoints that are asked, at most.
pub const ENDPOINTS_MAX: usize = 8;
/// Bytes of an answer, at most: the 100 records that a server should send have under 1 KiB each.
pub const ANSWER_SIZE_MAX: u64 = 1 << 20;
/// Records of an answer that are read, at most, as the specification has it.
pub const RECORDS_MAX: usize = 100;
/// Addresses of one record that are read, at most.
pub const ADDRESSES_MAX: usize = 16;
/// Places that one answer gives, at most.
pub const PLACES_MAX: usize = 32;
/// How long an endpoint may take.
const TIME_MAX: Duration = Duration::from_secs(15);
/// The protocol of those who serve blocks over HTTP.
const PROTOCOL: &str = "transport-ipfs-gateway-http";
const LINES: &str = "application/x-ndjson";

/// Why an endpoint does not say where something is.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// It is no address of an endpoint.
    #[error(
        "store_routing names {0:?}, which is no endpoint: http://HOST:PORT, at most {ENDPOINTS_MAX}"
    )]
    Endpoint(String),
    /// It does not answer.
    #[error("{endpoint}: {why}")]
    Silent {
        /// Which.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// It answers with something else.
    #[error("{endpoint} answers with status {status}")]
    Status {
        /// Which.
        endpoint: String,
        /// What.
        status: u16,
    },
    /// Its answer is too long, or is none.
    #[error("{endpoint} sends no list of places: {what}")]
    Malformed {
        /// Which.
        endpoint: String,
        /// What is wrong.
        what: String,
    },
}

/// How far away a host is from this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    Machine,
    Lan,
    World,
}

/// Someone who knows where content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: String,
    distance: Distance,
}

/// The endpoints that a setting names, comma-separated.
///
/// # Errors
/// When one of them is none, or there are too many.
pub fn endpoints(setting: &str) -> Result<Vec<Endpoint>, RoutingError> {
    let named = setting.split(',').map(str::trim).filter(|it| !it.is_empty());
    let endpoints: Vec<Endpoint> = named.map(Endpoint::parse).collect::<Result<_, _>>()?;
    match endpoints.get(ENDPOINTS_MAX) {
        Some(one_more) => Err(RoutingError::Endpoint(one_more.url.clone())),
        None => Ok(endpoints),
    }
}

impl Endpoint {
    /// Reads `http://HOST:PORT`, with `https` too, and a path that goes before `/routing/v1`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Endpoint, RoutingError> {
        let wrong = || RoutingError::Endpoint(text.to_owned());
        let url = text.trim_end_matches('/');
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let host = rest.and_then(|it| it.split('/').next()).filter(|it| !it.is_empty());
        let host = host.ok_or_else(wrong)?;
        let plain = |c: char| c.is_ascii_graphic() && !"?#@\\\"<>".contains(c);
        if !url.chars().all(plain) {
            return Err(wrong());
        }
        let distance = distance(without_port(host));
        Ok(Endpoint { url: url.to_owned(), distance })
    }

    /// Asks where content is, and gives gateways of IPFS. Waits for the answer.
    ///
    /// # Errors
    /// When it does not answer, or with something else.
    pub fn ask(&self, cid: &Cid) -> Result<Vec<Gateway<Tcp>>, RoutingError> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIME_MAX))
            .build()
            .new_agent();
        let url =
            format!("{}/routing/v1/providers/{cid}?filter-protocols=unknown,{PROTOCOL}", self.url);
        let silent = |why: &dyn std::fmt::Display| RoutingError::Silent {
            endpoint: self.url.clone(),
            why: why.to_string(),
        };
        let accept = format!("{LINES}, application/json;q=0.9");
        let answer = agent.get(&url).header(ACCEPT, accept).call();
        let mut answer = answer.map_err(|error| silent(&error))?;
        match answer.status().as_u16() {
            200 => {}
            // What servers said for "nobody" before the specification had it otherwise.
            404 => return Ok(Vec::new()),
            status => return Err(RoutingError::Status { endpoint: self.url.clone(), status }),
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let is_lines = kind.is_some_and(|it| it.starts_with(LINES));
        let mut bytes = Vec::new();
        let body = answer.body_mut().as_reader();
        body.take(ANSWER_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(|error| silent(&error))?;
        let malformed = |what| RoutingError::Malformed { endpoint: self.url.clone(), what };
        let places = places(&bytes, is_lines, self.distance).map_err(malformed)?;
        Ok(places.iter().filter_map(|place| Gateway::parse(place).ok()).collect())
    }
}

/// The places that an answer names, as `http://HOST:PORT`, each once.
fn places(bytes: &[u8], is_lines: bool, asked: Distance) -> Result<Vec<String>, String> {
    if bytes.len() as u64 > ANSWER_SIZE_MAX {
        return Err(format!("it has more than {ANSWER_SIZE_MAX} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let records: Vec<Value> = if is_lines {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        // A record that is none, or one of a kind that is not known, does not spoil the others.
        lines.take(RECORDS_MAX).filter_map(|line| serde_json::from_str(line).ok()).collect()
    } else {
        let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match answer.get("Providers") {
            Some(Value::Array(records)) => records.iter().take(RECORDS_MAX).cloned().collect(),
            // How some servers say "nobody".
            Some(Value::Null) => Vec::new(),
            _ => return Err("it has no \"Providers\"".to_owned()),
        }
    };
    let mut places = Vec::new();
    for record in records.iter().filter(|record| serves(record)) {
        let addresses = record["Addrs"].as_array().into_iter().flatten().take(ADDRESSES_MAX);
        for address in addresses.filter_map(Value::as_str) {
            if let Some(place) = place(address, asked)
                && !places.contains(&place)
                && places.len() < PLACES_MAX
            {
                places.push(place);
            }
        }
    }
    Ok(places)
}

/// Whether a record is of someone who serves blocks over HTTP, or does not say what they serve.
fn serves(record: &Value) -> bool {
    let is_peer = matches!(record["Schema"].as_str(), Some("peer"));
    let protocols = record["Protocols"].as_array();
    is_peer
        && protocols.is_none_or(|protocols| {
            protocols.is_empty() || protocols.iter().any(|it| it.as_str() == Some(PROTOCOL))
        })
}

/// The gateway at `/ip4/ADDRESS/tcp/PORT/http` and the like; none where it is not reached over plain
/// HTTP, or is nearer to this machine than whoever names it.
fn place(address: &str, asked: Distance) -> Option<String> {
    let mut parts = address.strip_prefix('/')?.split('/');
    let (kind, host) = (parts.next()?, parts.next()?);
    let ("tcp", port, "http") = (parts.next()?, parts.next()?, parts.next()?) else { return None };
    // The name of the peer may follow, and nothing else.
    if !matches!(parts.next(), None | Some("p2p")) || parts.nth(1).is_some() {
        return None;
    }
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let host = match kind {
        "ip4" => host.parse::<std::net::Ipv4Addr>().ok()?.to_string(),
        "ip6" => format!("[{}]", host.parse::<std::net::Ipv6Addr>().ok()?),
        "dns" | "dns4" | "dns6" if is_name(host) => host.to_owned(),
        _ => return None,
    };
    (distance(&host) >= asked).then(|| format!("http://{host}:{port}"))
}

fn is_name(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    // An address in another writing is no name.
    host.len() <= 253
        && host.chars().all(plain)
        && host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// A host without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    }
}

/// How far away a host is. A name is taken to be of the world, but for those that are of this machine
/// or a LAN by their own word.
fn distance(host: &str) -> Distance {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) if ip.is_loopback() || ip.is_unspecified() => Distance::Machine,
        Ok(IpAddr::V6(ip)) if ip.is_loopback() || ip.is_unspecified() => Distance::Machine,
        Ok(IpAddr::V4(ip)) if ip.is_private() || ip.is_link_local() || is_shared(ip) => {
            Distance::Lan
        }
        Ok(IpAddr::V4(ip)) if ip.is_multicast() || ip.is_broadcast() => Distance::Lan,
        Ok(IpAddr::V6(ip)) if ip.is_unique_local() || ip.is_unicast_link_local() => Distance::Lan,
        Ok(IpAddr::V6(ip)) if ip.is_multicast() => Distance::Lan,
        Ok(_) => Distance::World,
        Err(_) if bare == "localhost" || bare.ends_with(".localhost") => Distance::Machine,
        Err(_) if bare.ends_with(".local") || !bare.contains('.') => Distance::Lan,
        Err(_) => Distance::World,
    }
}

/// 100.64.0.0/10, which providers share out among their customers (RFC 6598).
fn is_shared(ip: std::net::Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}

#[cfg(test)]
mod tests;
