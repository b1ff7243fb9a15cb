//! Packets as somebody sees them who knows nothing of us: recorded on a network device by dumpcap, read by tshark.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use crate::command::{Started, attempt, run, start};
use crate::deadline::until_true;

const LIMIT_S: u64 = 30;
const FILE: &str = "/run/capture.pcapng";
const ROCE: &str = "udp port 4791";

/// A recording under way.
#[derive(Debug)]
pub struct Capture {
    dumpcap: Started,
    process: u32,
}

/// A RoCEv2 packet that was recorded.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sent it.
    pub source: SocketAddr,
    /// Who was meant.
    pub destination: SocketAddr,
    /// Identification of the IPv4 header.
    pub identification: u16,
    /// What tshark shows as the invariant CRC, most significant byte first.
    pub invariant_crc: u32,
    /// Everything behind the UDP header.
    pub payload: Vec<u8>,
}

impl Capture {
    /// Records RoCEv2 on a network device of the first namespace, packet by packet as on a cable: the device is told
    /// to send no larger ones for others to cut.
    ///
    /// # Panics
    ///
    /// The guest refuses.
    pub fn start(netdev: &str) -> Self {
        run(&format!("ip link set {netdev} gso_max_segs 1"));
        // The filter is one argument, so the line is split by a shell.
        let script = format!("exec dumpcap -q -B 64 -i {netdev} -w {FILE} -f '{ROCE}'");
        let path = "/run/capture.sh";
        fs::write(path, script).expect("writing the script");
        // What an earlier recording left.
        let _ = fs::remove_file(FILE);
        let dumpcap = start(&format!("sh {path}"));
        until_true("dumpcap to open its file", LIMIT_S, || {
            fs::metadata(FILE).is_ok_and(|file| file.len() > 0)
        });
        let process = dumpcap.id();
        Self { dumpcap, process }
    }

    /// Ends the recording when it holds that many packets: the kernel hands them over in batches, and what it still
    /// has at the end would be lost.
    ///
    /// # Panics
    ///
    /// They do not come, or not every packet was recorded.
    #[track_caller]
    pub fn stop(self, packets: u64) -> Recorded {
        until_true("all packets to be recorded", LIMIT_S, || {
            fs::read(FILE).is_ok_and(|bytes| recorded(&bytes) >= packets)
        });
        run(&format!("kill -INT {}", self.process));
        let ended = self.dumpcap.finish("");
        let said = ended.stderr.clone();
        ended.output();
        assert!(said.contains("/0 (pcap:0/dumpcap:0/flushed:0"), "{said}");
        Recorded
    }
}

/// A recording that has ended.
#[derive(Debug)]
pub struct Recorded;

impl Recorded {
    /// What tshark finds wrong: packets that it cannot take apart, and what its experts call an error.
    ///
    /// # Panics
    ///
    /// tshark fails.
    #[track_caller]
    pub fn faults(&self) -> Vec<String> {
        let filter = "_ws.malformed||_ws.expert.severity==error||!infiniband";
        let found = attempt(&format!("tshark -n -r {FILE} -Y {filter}")).output();
        found.lines().map(str::to_string).collect()
    }

    /// Every packet as tshark takes it apart.
    ///
    /// # Panics
    ///
    /// tshark fails, or shows something else than RoCEv2 over IPv4.
    #[track_caller]
    pub fn packets(&self) -> Vec<Packet> {
        let fields =
            "ip.src udp.srcport ip.dst udp.dstport ip.id infiniband.invariant.crc udp.payload";
        let fields: String = fields
            .split(' ')
            .map(|field| format!(" -e {field}"))
            .collect();
        let script = format!("exec tshark -n -r {FILE} -T fields{fields} > /run/packets");
        fs::write("/run/packets.sh", script).expect("writing the script");
        run("sh /run/packets.sh");
        let text = fs::read_to_string("/run/packets").expect("what tshark wrote");
        let packet = |line: &str| Packet::parse(line).unwrap_or_else(|| panic!("tshark: {line}"));
        text.lines().map(packet).collect()
    }
}

impl Packet {
    fn parse(line: &str) -> Option<Self> {
        let hex = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let fields: Vec<&str> = line.split('\t').collect();
        let [source, from, destination, to, identification, crc, payload] = fields[..] else {
            return None;
        };
        let end = |ip: &str, port: &str| {
            Some(SocketAddr::new(
                ip.parse::<IpAddr>().ok()?,
                port.parse().ok()?,
            ))
        };
        Some(Self {
            source: end(source, from)?,
            destination: end(destination, to)?,
            identification: u16::try_from(hex(identification)?).ok()?,
            invariant_crc: hex(crc)?,
            payload: bytes(payload)?,
        })
    }
}

/// How many packets a file of the pcapng format holds: blocks begin with their type and length.
fn recorded(mut file: &[u8]) -> u64 {
    const ENHANCED_PACKET: u32 = 6;
    let mut count = 0;
    while let Some((head, _)) = file.split_first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *head;
        let len = u32::from_le_bytes([e, f, g, h]) as usize;
        let Some(rest) = file.get(len.max(8)..) else {
            break;
        };
        count += u64::from(u32::from_le_bytes([a, b, c, d]) == ENHANCED_PACKET);
        file = rest;
    }
    count
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    hex.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_packets_of_a_file_are_counted() {
        let block = |kind: u8, len: u8| {
            let mut block = vec![kind, 0, 0, 0, len, 0, 0, 0];
            block.resize(len.into(), 0);
            block
        };
        let file = [block(10, 28), block(6, 32), block(5, 12), block(6, 36)].concat();
        assert_eq!(recorded(&file), 2);
        assert_eq!(recorded(&file[..file.len() - 1]), 1);
        assert_eq!(recorded(&[0; 64]), 0);
    }

    #[test]
    fn a_line_of_tshark_is_a_packet() {
        let line = "10.99.0.1\t49152\t10.99.0.2\t4791\t0x00ff\t0x0102a0ff\t1100a0ff0102a0ff";
        let packet = Packet::parse(line).expect("a packet");
        assert_eq!(packet.destination, "10.99.0.2:4791".parse().unwrap());
        assert_eq!(
            (packet.identification, packet.invariant_crc),
            (255, 0x0102_a0ff)
        );
        assert_eq!(packet.payload[4..], packet.invariant_crc.to_be_bytes());
        assert!(Packet::parse("10.99.0.1\t1\t10.99.0.2\t4791\t0x00ff\t\t11").is_none());
    }
}
