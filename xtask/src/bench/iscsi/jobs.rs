//! What the client does.

/// One job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) title: &'static str,
    pub(super) writes: bool,
    pub(super) block_bytes: u32,
    /// Of each session.
    pub(super) depth: u32,
    pub(super) sessions: u32,
    /// Of each session.
    commands: u32,
    pub(super) has_idle_sessions: bool,
    /// I/Os per second of srptgt for one of tgt that are aimed at.
    pub(super) speed_aim: Option<f64>,
}

/// Sessions beside the busy one.
pub(super) const IDLE_SESSIONS: u32 = 800;

/// Bytes of the LUN of both.
pub(super) const LUN_MIB: u32 = 256;

const READ: Job = Job {
    title: "",
    writes: false,
    block_bytes: 4 << 10,
    depth: 32,
    sessions: 1,
    commands: 20_000,
    has_idle_sessions: false,
    speed_aim: None,
};

/// The jobs in the order in which they run and stand in the table. The one with idle sessions follows its like.
pub(super) const JOBS: [Job; 7] = [
    Job {
        title: "4 KiB read, depth 1",
        depth: 1,
        commands: 6_000,
        ..READ
    },
    Job {
        title: "4 KiB read, depth 32",
        speed_aim: Some(2.5),
        ..READ
    },
    Job {
        title: "4 KiB read, depth 32",
        has_idle_sessions: true,
        ..READ
    },
    Job {
        title: "4 KiB write, depth 32",
        writes: true,
        speed_aim: Some(2.5),
        ..READ
    },
    Job {
        title: "4 KiB read, 8 sessions of depth 4",
        depth: 4,
        sessions: 8,
        commands: 3_000,
        ..READ
    },
    Job {
        title: "128 KiB read, depth 8",
        block_bytes: 128 << 10,
        depth: 8,
        commands: 4_000,
        ..READ
    },
    Job {
        title: "128 KiB write, depth 8",
        writes: true,
        block_bytes: 128 << 10,
        depth: 8,
        commands: 4_000,
        ..READ
    },
];

/// All of the LUN is written once.
pub(super) const WARM_UP: Job = Job {
    title: "writing the LUN",
    writes: true,
    block_bytes: 1 << 20,
    depth: 4,
    commands: LUN_MIB,
    ..READ
};

impl Job {
    /// Of each session.
    pub(super) fn commands(&self) -> u32 {
        self.commands
    }

    /// Of all sessions.
    pub(super) fn ios(&self) -> u32 {
        self.commands * self.sessions
    }

    /// The same with fewer commands.
    pub(super) fn shorter(self) -> Self {
        Self {
            commands: self.commands / 4,
            ..self
        }
    }

    /// Whether it is what the job beside idle sessions is but for them.
    pub(super) fn is_like_the_idle_one(&self) -> bool {
        let mut others = JOBS.iter().filter(|job| job.has_idle_sessions);
        others.any(|idle| idle.title == self.title)
    }
}
