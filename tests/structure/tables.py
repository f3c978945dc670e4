"""What the laws hold the sources against: amend these tables, not the laws.

A room is a folder or a file directly in the package. Whatever a table excuses stands beside its
reason, and an excuse that is no longer needed is itself a fault.
"""

ORDER = (  # lowest first; a room imports rooms on lower lines, none on its own
    "errors",
    "config files claim memory registry results",
    "layers data pages optim",
    "features",
    "weights",
    "predictor",
    "models heads adapters text",
    "factory",
    "catalogue adaptation sources",
    "lineage",
    "identify",
    "checkpoints",
    "conversion pretrained",
    "tasks evaluation inspection",
    "engine",
    "recipes",
    "studies export serving diagnosis",
    "training",
    "portrait",
    "api",
    "show",
    "__init__",
    "cli",
    "__main__",
)

NARROWER = {  # rooms that may import less than what lies below them
    "layers": "errors config",
    "data": "errors config files",  # knows samples, not models
    "pages": "errors files",  # knows what it is given to show, nothing that computed it
    "optim": "errors config",
    "weights": "errors config files layers features data",
    "adapters": "errors config layers features weights data",
    "models": "errors config claim registry layers features weights predictor data",
    "heads": "errors config claim registry layers features weights predictor data",
    "text": "errors config claim registry layers weights",  # reads words, knows no images
}

PARTS = {  # the only modules of a room that another may import
    ("engine", "tasks"): ("base",),  # the loop knows `Task`, no concrete task
    ("models", "data"): ("frame",),  # how pictures are framed is part of a model's preprocessing
    ("heads", "data"): ("frame",),
    ("adapters", "data"): ("frame",),
    ("weights", "data"): ("frame",),
}

FAMILY_PAIRS = {  # a model file may import another for its variants or its stem
    ("clip", "vit"): "CLIP's image tower is ViT with a norm before the blocks",
    ("deit", "vit"): "DeiT is ViT with one more token",
    ("deepvit", "cait"): "re-attention mixes heads as talking heads do",
    ("bit", "resnet"): "BiT is a ResNet with other blocks, stem and norm",
    ("beitv2", "beit"): "BEiT v2 is BEiT that learns from another tokeniser",
    ("deit3", "vit"): "DeiT III is ViT with LayerScale, trained anew",
    ("localvit", "vit"): "LocalViT's stem is ViT's",
    ("mit", "pvtv2"): "SegFormer's encoder is PVT v2's network with narrower MLPs",
    ("swinv2", "swin"): "Swin V2 is Swin with other blocks and mergings",
    ("axial", "resnet"): "Axial-ResNet is a ResNet whose 3x3 convolutions attend along lines",
    ("lrnet", "resnet"): "LR-Net is a ResNet whose convolutions are local relations",
    ("nonlocal_net", "resnet"): "a non-local network is a ResNet with further blocks",
    ("sasa", "resnet"): "SASA is a ResNet whose 3x3 convolutions attend over windows",
    ("detr_panoptic", "detr"): "masks are a further part of DETR",
    ("hybrid", "vit"): "a hybrid is ViT with patches of a convnet's map",
    ("hybrid", "bit"): "its convolutions are BiT's",
    ("hybrid", "resnet"): "its stem is a ResNet's",
    ("senet", "resnet"): "SENet is a ResNet with one more part in a block",
    ("sknet", "resnet"): "SKNet is a ResNet with another convolution in a block",
    ("resnest", "resnet"): "ResNeSt is a ResNet with another convolution in a block, and stem",
    ("localvit_pvt", "localvit"): "the feed-forward is LocalViT's",
    ("localvit_pvt", "pvt"): "LocalViT-PVT is PVT with other blocks",
    ("localvit_swin", "localvit"): "the feed-forward is LocalViT's",
    ("localvit_swin", "swin"): "LocalViT-Swin is Swin with other blocks",
    ("localvit_tnt", "localvit"): "the feed-forward is LocalViT's",
    ("localvit_tnt", "tnt"): "LocalViT-TNT is TNT with other blocks",
    ("vitc", "vit"): "ViT_C is ViT with patches cut by convolutions",
    ("max_deeplab", "axial_deeplab"): "its auxiliary head is one of Axial-DeepLab's decoders",
    ("vt", "resnet"): "visual transformers follow the stages of a ResNet",
}

INFRASTRUCTURE = {  # files in the rooms of papers that hold no paper's thing
    "heads/dense.py": "what every head for pixels is",
    "heads/panoptic.py": "what every head that parts pictures is",
    "heads/detector.py": "what every head for objects is",
    "recipes/pick.py": "chooses among the recipes",
    "recipes/recipe.py": "what every recipe is made of",
    "tasks/base.py": "what every task is",
    "text/contract.py": "what every reader of text is",
}

PAPER_ROOMS = ("models", "text", "heads", "tasks", "recipes")
FAMILY_ROOMS = ("models", "text", "heads")  # whose papers list what they hold in VARIANTS
DECLARATIVE = (
    "VARIANTS",
    "CLAIMS",
    "CONFIGS",
    "FORMATS",
    "Format",
    "HeadFormat",
    "Rule",
    "Rules",
    "Tensors",
    "View",
)  # tables, and functions that make them: by their name or by what they make

PARTS_ROOM = "layers"  # what stands there, three papers use
CONTRACT = "features factory inspection engine training"  # rooms that know all networks, no paper
AWAITED = {  # "layers/file.py:name" -> who else is to use it
    "layers/axial.py:AxialAttention": "kMaX-DeepLab's pixels attend so, as MaX-DeepLab's do",
    "layers/axial.py:PositionSensitive": "kMaX-DeepLab's pixels attend so, as MaX-DeepLab's do",
    "layers/axial.py:RelativeCodes": "kMaX-DeepLab's pixels attend so, as MaX-DeepLab's do",
    "layers/normed.py:fold_into": "predictors and exports fold every batch norm into its map",
    "layers/position.py:SinCosPosition": "the encoders of MAE and MoCo v3 have these positions",
    "layers/sampling.py:centres": "Deformable DETR's cells look around their centres",
    "layers/sampling.py:sample": "Deformable DETR reads maps at points, Sparse R-CNN at regions'",
    "layers/sequence.py:CrossAttention": "captioners' words read the tokens of an image",
}

FAMILY_LINES = 250  # without its declarative tables
FILE_LINES = 300
FUNCTION_LINES = 50
EXCUSED = {  # "room/file.py" or "room/file.py:Class.method" -> why it is longer
    "api.py": "a verb is its signature and its help; their number is the number of the commands",
    "api.py:train": "a parameter and its line of help for each flag of the command",
    "heads/max_deeplab.py": "two paths, a stacked decoder, slots: parts that no other paper has",
    "heads/dpt.py": "two answers from one fusion: depths, relative or metric, and classes",
    "heads/deformable_detr.py": "one stage or two, refined or not, one map or more",
    "models/dat.py": "windows, points, and biases read between offsets, which no other paper has",
    "models/levit.py": "four projects count its blocks, whose biases and norms are its own",
    "models/tnt.py": "two transformers, and where the words of the inner one lie",
    "pretrained.py:create_model": "a line of help for each thing that can be said of a model",
    "models/vil.py": "two attentions, with and without biases of two kinds, which no other has",
}

PARAMETERS = 8
WIDE = {  # "room/file.py:Class.method" -> why it takes more
    "api.py:convert": "the flags of the command are its parameters",
    "api.py:train": "the flags of the command are its parameters",
    "pretrained.py:create_model": "what can be said of a model of any kind",
}
FOREIGN_SIGNATURES = {"train", "requires_grad_", "zero_grad"}  # torch's own, flag and all

FORBIDDEN_NAMES = ("utils", "util", "common", "misc", "helpers", "helper")

LIGHT = (
    "__init__.py",
    "__main__.py",
    "claim.py",
    "cli.py",
    "config.py",
    "errors.py",
    "files.py",
    "memory.py",
    "registry.py",
    "results.py",
)
ON_TOP = {  # libraries that a file may import at its top, and where; a light file imports none
    "PIL": ("data/", "pages/", "predictor.py"),
    "jaxtyping": ("",),
    "numpy": ("",),
    "safetensors": ("engine/", "weights/"),
    "torch": ("",),
}
IN_FUNCTIONS = {  # slow to import, or optional: at call time, in the rooms that they serve
    "PIL": ("",),
    "huggingface_hub": ("weights/hub.py",),
    "jinja2": ("pages/",),
    "markupsafe": ("pages/",),
    "pyarrow": ("data/",),
    "pydantic": ("config.py",),
    "rich": ("",),
    "safetensors": ("",),
    "simplejpeg": ("data/jpeg.py",),
    "scipy": ("data/", "evaluation/", "tasks/"),
    "sklearn": ("data/", "inspection/embedding.py"),
    "tifffile": ("data/bands.py",),
    "timm": ("adapters/",),
    "torchvision": ("adapters/", "data/", "tasks/"),
    "tyro": ("cli.py",),
}

DECORATORS = """
    abstractmethod cache cached_property classmethod contextmanager dataclass final inference_mode
    jaxtyped keeping lru_cache no_grad overload override property runtime_checkable setter
    staticmethod total_ordering unique wraps
"""  # that only define
PURE_CALLS = """
    bytes dict enumerate field float frozenset int len list logging.getLogger max min modules
    namedtuple normed partial range re.compile replace set slice sorted str sum tuple within zip
"""  # that a file may make at its top; so it may constructors, which begin with a capital

EXPORTS = "_HOMES"  # in __init__.py: public name -> module that defines it
COMMAND_LESS: set[str] = set()  # functions of the API that no command line could call
