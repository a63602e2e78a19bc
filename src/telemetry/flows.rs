//! One line per flow, for programs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::classify::{AppId, Classifier, Verdict};
use crate::flow::Record;
use crate::wire::protocol;

/// What is printed of a flow; both directions together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowLine {
    /// `tcp`, `udp`, `icmp`, `icmp6`, another protocol's name, or its number.
    pub l4: String,
    /// The end that sent the first packet.
    pub src: IpAddr,
    /// Its port, if the protocol has ports.
    pub sport: Option<u16>,
    /// The other end.
    pub dst: IpAddr,
    /// Its port likewise.
    pub dport: Option<u16>,
    /// The identifier of the outermost VLAN tag.
    pub vlan: Option<u16>,
    /// The application, if ports or protocol tell one.
    pub app: Option<String>,
    /// The class.
    pub class: &'static str,
    /// The class once so many packets had been seen.
    pub class_after: BTreeMap<u8, &'static str>,
    /// The name of the server, where it is known.
    pub host: Option<String>,
    /// What decided.
    pub reason: &'static str,
    /// How sure that is, from 0 to 1.
    pub confidence: f64,
    /// Packets in both directions.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
}

impl FlowLine {
    /// The line of `record`, whose verdict came from `classifier`.
    pub fn new(record: &Record<Verdict>, classifier: &Classifier) -> FlowLine {
        let has_ports = protocol::has_ports(record.protocol);
        let app = record.verdict.app;
        FlowLine {
            l4: protocol::name(record.protocol).map_or_else(|| record.protocol.to_string(), str::to_owned),
            src: record.source,
            sport: has_ports.then_some(record.source_port),
            dst: record.destination,
            dport: has_ports.then_some(record.destination_port),
            vlan: (record.vlan[0] != 0).then_some(record.vlan[0]),
            app: (app != AppId::UNKNOWN).then(|| classifier.app_name(app).to_owned()),
            class: record.verdict.class.name(),
            class_after: [1, 3].into_iter().zip(record.after.map(|verdict| verdict.class.name())).collect(),
            host: None,
            reason: record.verdict.reason.name(),
            confidence: f64::from(record.verdict.confidence) / 100.0,
            packets: record.packets.iter().sum(),
            bytes: record.bytes.iter().sum(),
        }
    }
}
