//! `xinqiao models list|pull|verify`.

use std::path::PathBuf;

use clap::Subcommand;

use super::Failure;
use super::progress::Shown;
use crate::recognition::models::ModelStore;

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder that holds the models
    #[arg(long, default_value = "data/models", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Every model that can be had, and whether it is here
    List,
    /// Bring a model here, verified and converted
    Pull {
        /// Its name
        #[arg(default_value = "whisper-base")]
        name: String,
        /// Bring the sample recordings too
        #[arg(long)]
        samples: bool,
    },
    /// Read a whole model and compare it with what was pulled
    Verify {
        /// Its name
        #[arg(default_value = "whisper-base")]
        name: String,
    },
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let store = ModelStore::new(&arguments.dir);
    let mut shown = Shown::default();
    match &arguments.action {
        Action::List => {
            for model in store.list() {
                let state = if model.present { "present" } else { "missing" };
                println!(
                    "{}\t{state}\t{} bytes\t{}\t{}",
                    model.name, model.size, model.licence, model.description
                );
            }
        }
        Action::Pull { name, samples } => {
            println!(
                "{}",
                store
                    .pull(name, &mut shown)
                    .map_err(Failure::must_be_mended)?
                    .display()
            );
            if *samples {
                println!(
                    "{}",
                    store
                        .pull_samples("zh", &mut shown)
                        .map_err(Failure::must_be_mended)?
                        .display()
                );
            }
        }
        Action::Verify { name } => {
            let path = store
                .verify(name, &mut shown)
                .map_err(Failure::must_be_mended)?;
            println!("{} is whole", path.display());
        }
    }
    Ok(())
}
