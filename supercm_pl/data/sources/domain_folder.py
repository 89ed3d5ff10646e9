"""Domains on disk, a folder of class folders for each."""

from __future__ import annotations

from pathlib import Path

from supercm_pl.data.sources.base import SourceData
from supercm_pl.data.sources.folder import (
    FolderSource,
    PathLike,
    _class_folders,
    _listing,
    find_images,
)


class DomainFolder(FolderSource):
    """One domain of a data set in the layout ``root/domain/class/image``.

    ::

        root/amazon/images/mug/1.jpg     Office-31: the folder "images" is seen through
        root/Real World/Mug/1.jpg        Office-Home
        root/validation/bus/1.jpg        VisDA-2017
        root/sketch/mug/1.png            DomainNet

    Images are read as by :class:`~supercm_pl.data.FolderSource`. There is no test set: a target
    domain is tested on all of its images.

    Args:
        root: Folder of the data set.
        domain: Name of the domain's folder.
        image_size: Side of the square in pixels that images are resized to.
        grayscale: One channel in place of three.

    Raises:
        ValueError: From :meth:`load`, if a folder is missing, empty or laid out otherwise.
    """

    def __init__(
        self, root: PathLike, domain: str, image_size: int = 256, grayscale: bool = False
    ) -> None:
        super().__init__(Path(root) / domain, image_size=image_size, grayscale=grayscale)
        self.root = Path(root)
        self.domain = domain

    def load(self) -> SourceData:
        """List the files; images are read when they are asked for."""
        folder, classes = self._folder(), self.class_names()
        for name in classes:
            below = find_images(folder / name)
            if below and all(path.parent != folder / name for path in below):
                raise ValueError(
                    f"expected {folder}/<class>/<image>, found {below[0]}: "
                    "give the folder above the domains as root, and the folder of classes as domain"
                )
        return SourceData(self._labeled_images(folder, self._name, classes), classes)

    def class_names(self) -> tuple[str, ...]:
        """Names of the class folders, sorted."""
        return _class_folders(self._folder(), self._name)

    @property
    def _name(self) -> str:
        return f"{self.domain!r} domain"

    def _folder(self) -> Path:
        folder = self.root / self.domain
        if not folder.is_dir():
            found = _listing(self.root) if self.root.is_dir() else "no folder there"
            raise ValueError(
                f"{self.root} has no domain {self.domain!r}: expected "
                f"{self.root}/{self.domain}/<class>/<image>, found {found}"
            )
        inner = folder / "images"
        alone = [path.name for path in folder.iterdir() if path.is_dir()] == ["images"]
        return inner if alone and any(path.is_dir() for path in inner.iterdir()) else folder
