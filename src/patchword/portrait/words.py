"""What each figure of the page is called, shows, and how it is read."""

TITLES = {
    "answers": "Where each answer comes from",
    "distance": "How far heads look",
    "entropy": "How spread attention is",
    "tokens": "Tokens, level by level",
    "norms": "Lengths of tokens",
    "levels": "How alike levels are",
    "between": "How alike the levels of both are",
    "map": "Map of the held-out pictures",
    "neighbours": "Nearest pictures",
    "filters": "Patch filters",
    "positions": "Position similarity",
    "biases": "Relative positions",
    "deletion": "Deletion",
    "insertion": "Insertion",
    "sanity": "Randomisation",
}

CAPTIONS = {
    "distance": "The mean distance from a patch to what it attends to, in pixels of the input: a "
    "dot for each head, layer by layer. Early layers with near and far heads see details and the "
    "whole at once; where all dots lie at one height, heads look equally far.",
    "entropy": "The entropy of what a patch attends to, in percent of that of attending to "
    "everything alike: a dot for each head, layer by layer. Low is a look at a few places, 100 % "
    "no choice at all; near 0 a head has collapsed onto one place.",
    "tokens": "The cells of some levels, from the first to the last: their three main directions "
    "are red, green and blue, the same for all pictures of a column. Cells of one colour are alike "
    "to the model; where a column shows things rather than edges, it has found them.",
    "norms": "How long the token of each cell is, from dark (0) over blue to yellow: 3 times the "
    "level's median, from where on it counts as an artifact, a token that holds something about "
    "the whole picture and not its place (Darcet et al. 2023). Below, the longest of the picture. "
    "Yellow specks on empty background spoil maps of attention.",
    "levels": "Linear CKA (unbiased) of each pair of levels, over the means of their cells: at 1 "
    "they tell the pictures apart in the same way, at 0 in unrelated ways. A dark block is depth "
    "that changes little; a sudden edge is where the network turns to something else.",
    "between": "Linear CKA (unbiased) between each level of the first (rows) and each of the "
    "second (columns), over the same pictures: a dark diagonal says that both work through the "
    "same steps.",
    "map": "Each dot is a picture, coloured by its true class; a ring is a wrong answer. t-SNE "
    "lays them out by the features that the head reads: neighbours are alike, but distances "
    "between groups, and the axes, mean nothing. A ring deep in another class is worth a look.",
    "neighbours": "Held-out pictures whose features point the same way, the nearest first, with "
    "their class and cosine. What neighbours share is what the model goes by.",
    "filters": "The main patterns that the first layer looks for in a patch, the strongest first. "
    "Smooth waves and edges are what trained networks learn; noise is an untrained one.",
    "positions": "Each tile belongs to the patch at its own place and shows how alike that patch's "
    "position embedding is to those of all patches; rows, columns or neighbourhoods that stand out "
    "are geometry the model has learnt.",
    "biases": "What each head adds to the score of a place by where it lies around the one in the "
    "middle, whatever is on the picture: red draws attention there, blue keeps it away. Each layer "
    "has its own scale; the largest amount is named.",
    "deletion": "The probability of the answer as cells are blanked, the most important first, the "
    "mean of the pictures. A faithful map falls early, below the random order.",
    "insertion": "The probability of the answer as a blurred picture is sharpened, the most "
    "important cells first. A faithful map rises early, above the random order.",
    "sanity": "How alike (rank correlation) a map stays as the weights are made random, from the "
    "head down to the stem. It should fall towards 0: a map that stays shows the edges of the "
    "picture, not the model (Adebayo et al. 2018).",
}

MEANS = {  # of telling what an answer rests on: the column's name -> what it shows
    "attention": "where the last layer attends (the class token, or the mean of all places)",
    "rollout": "what reaches the answer through all layers by attention alone",
    "relevance": "what speaks for the answer, by attention weighed with its gradient, layer by "
    "layer (Chefer et al. 2021)",
    "Grad-CAM": "where the last map that the answer is read from, of 4 cells a side or more, holds "
    "features that speak for it",
}

SECTIONS = {
    "answers": ("Answers", "Pictures, what the model says of them, and what in them it rests on."),
    "checks": (
        "Checks",
        "Whether the maps of what an answer rests on can be trusted; each by itself can mislead.",
    ),
    "heads": ("Heads", "What the heads of each layer do on these pictures, in numbers."),
    "features": (
        "Features",
        "What the pictures are to the model itself, from its first level to its last.",
    ),
    "weights": ("Weights", "What the weights show by themselves, with no picture put in."),
}
