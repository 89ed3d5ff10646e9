"""The help texts, of one screen each. ``supercm fit --help all`` lists every option."""

from __future__ import annotations

# The commands of LightningCLI. Each other one is a module of `cli/commands`.
LIGHTNING = ("fit", "validate", "test", "predict")
COMMANDS = {
    "fit": "train, then test the last weights",
    "validate": "compute the metrics of the validation data",
    "test": "compute the metrics of the test data",
    "predict": "write classes and probabilities to a CSV file",
    "export": "write a model that runs without this package",
    "report": "write an HTML report on one or more runs",
    "suggest": "choose unlabeled images to label next",
    "new": "make a project with a method and a backbone of your own",
    "completion": "print a script that completes commands in a shell",
}

OVERVIEW = """\
supercm: semi-supervised learning and domain adaptation with SuperCM, in PyTorch Lightning

  supercm fit FOLDER                               train on a folder of images, then test
  supercm fit --source FOLDER --target FOLDER      adapt from one domain to another
  supercm fit --config FILE                        train with a configuration
  supercm validate --config FILE --ckpt_path CKPT  compute the metrics of the validation data
  supercm test --config FILE --ckpt_path CKPT      compute the metrics of the test data
  supercm predict CKPT FOLDER                      write classes and probabilities of images
  supercm report RUN_DIR [RUN_DIR ...]             write an HTML report on one or more runs
  supercm suggest RUN_DIR --number 20              choose unlabeled images to label next
  supercm export CKPT --format torch|onnx          write a model that runs without this package
  supercm new NAME                                 make a project with a method of your own
  supercm completion bash|zsh|fish                 print a script that completes commands

  supercm COMMAND --help         the options of a command
  --quiet                        print only warnings, errors and the closing table

A usage error prints one line on standard error and exits with status 2. SUPERCM_DEBUG=1 shows
the traceback.
"""

_FIT = """\
usage: supercm fit FOLDER [options]
       supercm fit --source FOLDER --target FOLDER [options]
       supercm fit --config FILE [--config FILE ...] [options]

Train, then test the last weights. FOLDER has one of these layouts:
  labeled/<class>/<image>, and as needed unlabeled/, test/<class>/, val/<class>/
  <class>/<image>, with images without a label beside the class folders
  labels.csv with lines file,label, and the images

what you often set
  --data.labels_per_class N      use only N labels of each class
  --data.source.image_size N     height and width to which images are resized
  --model.cm_weight B            weight of the clustering loss, 0 for none
  --add_labels FILE              labels of further images, in a CSV file with file and label
  --config configs/ssl/methods/fixmatch.yaml         add a method
  --optimizer SGD --optimizer.lr 0.1                 class and arguments of the optimizer
  --trainer.max_steps N          length of the training
  --budget TIME                  the same by time, such as 90s, 5min or 2h
  --trainer.accelerator cpu|gpu
  --seed_everything N            seed of everything random (0)

run
  --ckpt_path CKPT               resume a run
  --test_after_fit false         leave out the test
  --no_report                    leave out the report
  --threads N                    CPU threads of PyTorch; as many as help by default
  --quiet                        print only warnings, errors and the closing table
  --print_config                 print the complete configuration and exit

  supercm fit --help all                             every option
  supercm fit --model.help supercm_pl.SSLModule      the arguments of a class
"""

_EVALUATE = """\
usage: supercm {command} --config FILE --ckpt_path CKPT [options]

{summary}

  --config FILE         the run's config.yaml, or the configuration that it was trained with
  --ckpt_path CKPT      a checkpoint of the run
  --data.NAME VALUE     set any argument of the data; --trainer.NAME and --model.NAME likewise
  --trust PACKAGES      comma-separated packages whose classes the checkpoint may name
  --threads N           CPU threads of PyTorch; as many as help by default
  --quiet               print only warnings, errors and the closing table

  supercm {command} --help all    every option
"""


def help_of(command: str) -> str:
    """The help of a Lightning command: what users set."""
    if command == "fit":
        return _FIT
    return _EVALUATE.format(command=command, summary=f"{COMMANDS[command].capitalize()}.")
