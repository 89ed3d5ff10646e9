"""Commands that are not LightningCLI subcommands, one file each."""
