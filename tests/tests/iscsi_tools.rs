//! iSCSI over TCP, asked by initiators in user space that others wrote: libiscsi's tools and qemu's block driver. They
//! need no kernel, so this runs natively.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde_json::Value;
use srptgt::exercise::Pattern;
use tests::bed::{Bed, loopback_address, natively};
use tests::command::{Finished, attempt, attempt_with_input, run};
use tests::deadline::until_true;
use tests::srptgt::Srptgt;

const INITIATOR: &str = "iqn.2026-11.example:tools";
const MIB: u64 = 1 << 20;

/// A daemon with a TCP portal and one LUN in a file, and the folder of both.
struct Target {
    srptgt: Srptgt,
    address: IpAddr,
    name: String,
    image: PathBuf,
}

impl Target {
    /// It serves a LUN of `size_mib` to [`INITIATOR`] only.
    fn serving(bed: &Bed, size_mib: u64) -> Self {
        let srptgt = bed.target();
        let address = loopback_address();
        let image = PathBuf::from(bed.path("disk.img").to_string());
        srptgt.run(&format!("portal add tcp {address}"));
        srptgt.run(&format!("allow {INITIATOR} --as initiator"));
        srptgt.add_luns(&[&format!("--file {} --size {size_mib}M", image.display())]);
        let target: Value = srptgt.json("target show");
        let name = target["iqn"].as_str().expect("an iSCSI name").to_owned();
        Self {
            srptgt,
            address,
            name,
            image,
        }
    }

    fn portal(&self) -> SocketAddr {
        SocketAddr::new(self.address, 3260)
    }

    /// The LUN as libiscsi names it.
    fn url(&self) -> String {
        format!("iscsi://{}/{}/0", self.portal(), self.name)
    }

    /// One of libiscsi's tools on the LUN.
    fn ask(&self, tool: &str) -> Finished {
        attempt(&format!("{tool} -i {INITIATOR} {}", self.url()))
    }

    /// The LUN as qemu names it.
    fn options(&self) -> String {
        format!(
            "driver=iscsi,transport=tcp,portal={},target={},lun=0,initiator-name={INITIATOR}",
            self.portal(),
            self.name
        )
    }

    /// The file that the daemon serves.
    fn stored(&self) -> Vec<u8> {
        fs::read(&self.image).expect("the image")
    }
}

/// A file of bytes that tell where they belong.
fn source(bed: &Bed, len: u64) -> (PathBuf, Vec<u8>) {
    let mut bytes = vec![0; usize::try_from(len).expect("a length")];
    Pattern { seed: 7 }.fill(0, &mut bytes);
    let path = PathBuf::from(bed.path("source.raw").to_string());
    fs::write(&path, &bytes).expect("a source");
    (path, bytes)
}

fn assert_same(found: &[u8], expected: &[u8]) {
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the first byte that differs");
    assert_eq!(found.len(), expected.len());
}

#[test]
fn libiscsi_finds_the_target_and_asks_it_what_it_is() {
    natively(|bed| {
        let target = Target::serving(bed, 64);
        let portal = target.portal();
        let found = run(&format!("iscsi-ls -i {INITIATOR} -s iscsi://{portal}"));
        assert!(found.contains(&target.name), "{found}");
        assert!(found.contains(&format!("Portal:{portal},1")), "{found}");
        assert!(found.contains("Lun:0"), "{found}");
        let inquiry = target.ask("iscsi-inq").output();
        assert!(inquiry.contains("VIRTUAL-DISK"), "{inquiry}");
        assert!(inquiry.contains("iSCSI"), "{inquiry}");
        let capacity = target.ask("iscsi-readcapacity16").output();
        assert!(capacity.contains("Total size:67108864"), "{capacity}");
    });
}

#[test]
fn who_is_not_listed_is_refused_and_pending() {
    natively(|bed| {
        let target = Target::serving(bed, 16);
        let stranger = "iqn.2026-11.example:stranger";
        let refused = attempt(&format!("iscsi-inq -i {stranger} {}", target.url()));
        assert!(!refused.succeeded(), "a stranger got in");
        let pending = target.srptgt.pending(stranger, |_| true);
        assert_eq!(pending["login"]["address"], "127.0.0.1", "{pending}");
        target
            .srptgt
            .run(&format!("allow {stranger} --as initiator"));
        run(&format!("iscsi-inq -i {stranger} {}", target.url()));
    });
}

#[test]
fn chap_admits_who_has_the_secret() {
    natively(|bed| {
        let target = Target::serving(bed, 16);
        let secret = PathBuf::from(bed.path("secret").to_string());
        fs::write(&secret, "correct-horse-battery").expect("a secret");
        target.srptgt.run(&format!(
            "host set initiator --chap-user somebody --chap-secret-file {}",
            secret.display()
        ));
        let ask = |account: &str| {
            let url = target
                .url()
                .replace("iscsi://", &format!("iscsi://{account}"));
            attempt(&format!("iscsi-inq -i {INITIATOR} {url}"))
        };
        assert!(!ask("").succeeded(), "without a secret");
        assert!(
            !ask("somebody%wrong-horse-battery@").succeeded(),
            "with a wrong secret"
        );
        target
            .srptgt
            .pending(INITIATOR, |row| row["reason"] == "chap-failed");
        ask("somebody%correct-horse-battery@").output();
    });
}

/// Both ends show that they know the other's secret; libiscsi is told the target's in the URL.
#[test]
fn mutual_chap_shows_each_end_the_other() {
    natively(|bed| {
        let target = Target::serving(bed, 16);
        let secret = |name: &str, text: &str| {
            let path = PathBuf::from(bed.path(name).to_string());
            fs::write(&path, text).expect("a secret");
            path.display().to_string()
        };
        let own = secret("own", "correct-horse-battery");
        let mutual = secret("mutual", "staple-of-the-target");
        target.srptgt.run(&format!(
            "host set initiator --chap-user somebody --chap-secret-file {own} --mutual-chap-user target \
             --mutual-chap-secret-file {mutual}"
        ));
        let url = target
            .url()
            .replace("iscsi://", "iscsi://somebody%correct-horse-battery@");
        let ask = |query: &str| attempt(&format!("iscsi-inq -i {INITIATOR} {url}{query}"));
        ask("?target_user=target&target_password=staple-of-the-target").output();
        ask("?target_user=target&target_password=staple-of-nobody").refusal(10);
        ask("?target_user=nobody&target_password=staple-of-the-target").refusal(10);
        // Who does not ask is let in all the same.
        ask("").output();
    });
}

#[test]
fn libiscsi_gets_the_header_digest_that_it_insists_on() {
    natively(|bed| {
        let target = Target::serving(bed, 16);
        let url = format!("{}?header_digest=crc32c", target.url());
        let inquiry = run(&format!("iscsi-inq -i {INITIATOR} {url}"));
        assert!(inquiry.contains("VIRTUAL-DISK"), "{inquiry}");
    });
}

#[test]
fn qemu_writes_an_image_and_reads_the_same() {
    natively(|bed| {
        let target = Target::serving(bed, 64);
        let (path, bytes) = source(bed, 64 * MIB);
        let path = path.display();
        let options = target.options();
        run(&format!(
            "qemu-img convert -n -f raw --target-image-opts {path} {options}"
        ));
        assert_same(&target.stored(), &bytes);
        let back = bed.path("back.raw").to_string();
        run(&format!(
            "qemu-img convert --image-opts {options} -O raw {back}"
        ));
        assert_same(&fs::read(back).expect("what was read"), &bytes);
        target.srptgt.wait_until_idle();
    });
}

/// From one block to the longest transfer, at places that are no multiples of it.
#[test]
fn every_size_of_transfer_is_written_and_read_back() {
    natively(|bed| {
        let target = Target::serving(bed, 64);
        let mut script = Vec::new();
        let mut offset = 512;
        for (number, exponent) in (9..=22).enumerate() {
            for len in [1u64 << exponent, (1 << exponent) + 512] {
                let len = len.min(4 * MIB);
                script.push((offset, len, number + 1));
                offset += len + 512;
            }
        }
        let mut input = String::new();
        for act in ["write", "read"] {
            for (offset, len, pattern) in &script {
                input += &format!("{act} -P {pattern} {offset} {len}\n");
            }
        }
        let line = format!("qemu-io -t none --image-opts {}", target.options());
        let told = attempt_with_input(&line, &input).output();
        assert!(!told.contains("verification failed"), "{told}");
        assert_eq!(
            told.matches("bytes at offset").count(),
            2 * script.len(),
            "{told}"
        );
        let stored = target.stored();
        for (offset, len, pattern) in script {
            let (offset, len) = (offset as usize, len as usize);
            let found = &stored[offset..offset + len];
            let first_wrong = found.iter().position(|&byte| usize::from(byte) != pattern);
            assert_eq!(first_wrong, None, "{len} bytes at {offset}");
            assert_eq!(stored[offset - 1], 0, "before {len} bytes at {offset}");
        }
    });
}

#[test]
fn a_session_is_listed_counted_and_dropped() {
    natively(|bed| {
        let target = Target::serving(bed, 64);
        let options = target.options();
        // Slow enough to be seen, and it comes back by itself when its session is dropped.
        let copy = format!("qemu-img bench -w -c 2000000 -d 16 -s 4096 --image-opts {options}");
        let mut copying = std::process::Command::new("sh")
            .args(["-c", &copy])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("qemu-img");
        let sessions = || -> Value { target.srptgt.json("session list") };
        until_true("a session that writes", 60, || {
            sessions()[0]["luns"][0]["writes"].as_u64() > Some(100)
        });
        let session = sessions()[0].clone();
        assert_eq!(session["host"], "initiator");
        assert_eq!(session["transport"], "tcp");
        assert_eq!(session["identity"], INITIATOR);
        assert_eq!(session["login"]["address"], "127.0.0.1");
        assert_eq!(session["channels"][0]["request_limit"], 128);
        target
            .srptgt
            .run(&format!("session drop {}", session["id"]));
        assert!(
            sessions()
                .as_array()
                .is_some_and(|all| all.iter().all(|one| one["id"] != session["id"])),
            "a session that was dropped is gone"
        );
        copying.kill().expect("an end");
        copying.wait().expect("an end");
        until_true("nobody to be in", 60, || {
            sessions().as_array().is_some_and(Vec::is_empty)
        });
        target.srptgt.wait_until_idle();
        let counters = target.srptgt.counters();
        assert_eq!(counters.pool_used_bytes, 0);
    });
}
