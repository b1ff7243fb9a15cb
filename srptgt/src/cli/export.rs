//! `srptgt export`.

use super::{Context, Outcome, Output, say};

pub(crate) async fn run(context: &Context) -> Outcome {
    match context.output {
        Output::Table => say(&context.client.text("/v1/config.toml").await?),
        Output::Json => say(&format!("{:#}\n", context.client.get("/v1/config").await?)),
    }
}
