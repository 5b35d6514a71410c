//! `overlayd build`: prints what a kustomization builds to.

use kustomize::{BuildOptions, LoadRestriction, Rendered, Reorder};

use super::args::{BuildArgs, LoadRestrictor, ReorderArg};
use super::report::Failure;
use super::{disk, output};

pub(super) fn build(args: &BuildArgs) -> Result<(), Failure> {
    if args.enable_helm {
        let failure = Failure::new("`--enable-helm` is not supported");
        return Err(failure.because(
            "charts are not rendered by overlayd",
            Some("render them with `helm template` and commit the result"),
        ));
    }
    let options = BuildOptions {
        load_restriction: match args.load_restrictor {
            LoadRestrictor::RootOnly => LoadRestriction::RootOnly,
            LoadRestrictor::None => LoadRestriction::None,
        },
        reorder: match args.reorder {
            ReorderArg::Legacy => Reorder::Legacy,
            ReorderArg::None => Reorder::None,
        },
        managed_by_label: args.enable_managedby_label,
        ..BuildOptions::default()
    };
    let text = render(&args.directory, &options)?.to_yaml();
    match &args.output {
        Some(file) => std::fs::write(file, text).map_err(|error| {
            Failure::new(format!("cannot write `{}`", file.display()))
                .because(error.to_string(), None)
        }),
        None => Ok(output::write(&text)?),
    }
}

/// Builds a directory of the disk; warnings go to the person.
pub(super) fn render(
    directory: &std::path::Path,
    options: &BuildOptions,
) -> Result<Rendered, Failure> {
    let (tree, path) = disk::open(directory)?;
    let shown = directory.display().to_string();
    let rendered = kustomize::build(&tree, &path, options)
        .map_err(|errors| Failure::build(&shown, &errors))?;
    for warning in &rendered.warnings {
        output::note(&format!("warning: {warning}"));
    }
    Ok(rendered)
}
