//! A stream in chunks of any size means the same.

use proptest::prelude::*;
use target_core::port::{Channel, ChannelEvent};

use super::harness::{Bed, TASK, data_out, good, pattern, read, write};
use crate::pdu::RESERVED_TAG;

proptest! {
    #[test]
    fn chunks_do_not_matter(chunk in 1usize..4000) {
        let mut bed = Bed::tcp(|_| ());
        let mut stream = Vec::new();
        let pdu = write(bed.cmd_sn(), 1, 1500, true);
        stream.extend(bed.stream(&pdu.encode(1500), &pattern(0, 1500)));
        let pdu = write(bed.cmd_sn(), 2, 1999, false);
        stream.extend(bed.stream(&pdu.encode(101), &pattern(0, 101)));
        let mut rest = data_out(2, None, 0, 101);
        rest.is_final = true;
        stream.extend(bed.stream(&rest.encode(1898), &pattern(101, 1898)));
        let pdu = read(bed.cmd_sn(), 3, 0);
        stream.extend(bed.stream(&pdu.encode(0), &[]));
        let ping = crate::pdu::NopOut {
            immediate: true,
            initiator_task_tag: 4,
            target_transfer_tag: RESERVED_TAG,
            ..Default::default()
        };
        stream.extend(bed.stream(&ping.encode(3), b"abc"));
        let mut events = Vec::new();
        for bytes in stream.chunks(chunk) {
            bed.receive(bytes);
            events.extend(bed.events());
        }
        let mut commands = Vec::new();
        for event in events {
            let ChannelEvent::Command(command) = event else { panic!("{event:?}") };
            commands.push(command);
        }
        let tags: Vec<_> = commands.iter().map(|command| command.tag).collect();
        prop_assert_eq!(tags, vec![1, 2, 3]);
        prop_assert_eq!(commands[0].immediate.as_deref(), Some(&pattern(0, 1500)[..]));
        let buf = bed.data.take(1999).expect("room");
        bed.connection.pull_data_out(commands[1].exchange, TASK, 0, buf);
        match bed.events().pop() {
            Some(ChannelEvent::DataOut { buf, .. }) => prop_assert_eq!(&buf[..], &pattern(0, 1999)[..]),
            other => panic!("{other:?}"),
        }
        prop_assert_eq!(&bed.sent_one().data[..], b"abc");
        bed.outcome(commands[2].exchange, good());
        prop_assert_eq!(bed.sent().len(), 1);
        prop_assert_eq!(bed.recv.level().in_use_bytes, 0);
    }
}
