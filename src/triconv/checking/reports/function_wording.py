"""The sentences of a diagnosis of any function, and what to do about it. `diagnosis_wording.py` and `remedies.py` read them."""

from __future__ import annotations

from triconv.checking.findings.causes import Hypothesis

HYPOTHESES: dict[Hypothesis, str] = {
    Hypothesis.AT_ZERO: "it is the {derivative} where {parameter} is zero: {parameter} is left out of it",
    Hypothesis.AT_TRANSPOSED: "it is the {derivative} with axes {axes} of {parameter} exchanged",
    Hypothesis.AT_FLIPPED: "it is the {derivative} with {parameter} in reverse along axis {axes}",
    Hypothesis.AT_FIRST_SLICE: "it is the {derivative} with the first slice of {parameter} along axis {axis} in place of all",
    Hypothesis.AT_MISREAD: "it is the {derivative} with {parameter} reshaped where it must be transposed: its numbers are read "
    "with the axes in the order ({axes})",
    Hypothesis.AT_ROLLED: "it is the {derivative} with {parameter} shifted by {before} along axis {axis}",
    Hypothesis.SUMMED_OVER_AXES: "it is summed over axis {axes} of the array too, so that all elements along it are equal",
    Hypothesis.AVERAGED_OVER_AXES: "it is averaged over axis {axes} of the array, so that all elements along it are equal",
    Hypothesis.NORM_HELD: "the values do not change when {per_slice} of the array is multiplied by a number, but this is not "
    "orthogonal to it: the norm or deviation by which it is divided was held constant",
    Hypothesis.MEAN_HELD: "the values do not change when a number is added to {per_slice} of the array, but this has another "
    "sum than zero: the mean that is subtracted, or the sum by which a softmax divides, was held constant",
    Hypothesis.GRADIENT_OF_MASKED: "there is a gradient where the values do not depend on the array: what is masked or cut off",
    Hypothesis.GRADIENT_OF_CONSTANT: "there is a gradient; the values do not change here, as of a straight-through estimator",
    Hypothesis.UNEXPLAINED_OF_FUNCTION: "no known mistake explains it; ruled out: sign and factors, flips, shifts, "
    "swapped axes, a constant added, single elements and borders",
    Hypothesis.AT_EARLIER: "it is the derivative at the arrays of an earlier call: something is kept from call to call",
    Hypothesis.OF_OTHER_ARRAY: "it is the derivative by {parameter}: the results are in another order than the arrays",
    Hypothesis.ROUNDED_TO_INTEGERS: "it is {mode} to whole numbers{of_quotient}, as by // or by a cast to integers",
    Hypothesis.APPLIED_AGAIN: "the function itself is applied to the cotangent, where its transpose must be: of a rotation, a "
    "roll or a permutation the inverse, of a running sum the sum from the other end",
    Hypothesis.DIAGONAL_ALONE: "only the diagonal of the Jacobian is in it: each value counts as a function of its own element "
    "alone, as that of a softmax or a norm is not",
    Hypothesis.MASK_INVERTED: "the mask is inverted: there is a gradient where the values do not depend on the array, and none "
    "where they do",
    Hypothesis.OTHER_MASK: "it is masked by another mask than the values, as one of another call or comparison: {size} "
    "elements on which they depend have no gradient, and {total} on which they do not have one",
    Hypothesis.MASKED_TOO_MUCH: "it is zero for {size} of the {total} elements on which the values depend, and right for the "
    "others: masked, or stopped, where the values are not",
    Hypothesis.FACTOR_OF_SIGN: "where the array is {mode}, every element is {factor}: the slope of an activation is wrong",
    Hypothesis.FACTORS_OF_ELEMENTS: "each element is multiplied by a number of its own, {range}: a factor is left out or "
    "wrong, such as the derivative of an activation or of a gate",
    Hypothesis.TERMS_LEFT_OUT: "{size} of {total} products with the cotangent are left out, and the others are right",
    Hypothesis.COTANGENT_ELSEWHERE: "{size} of {total} elements of the cotangent are added to other elements than those that "
    "the values come from: the index of a maximum, or of a gather, is another one",
    Hypothesis.COTANGENT_SPREAD: "the cotangent is spread over up to {size} elements, where the values come from one: that of "
    "the maximum, or of the index",
    Hypothesis.COTANGENT_REORDERED: "the elements of the cotangent are read in another order than that of the values, as by a "
    "reshape where a transpose must be, or in another order",
    Hypothesis.RESULT_REORDERED: "its elements are right, and stand in another order",
    Hypothesis.COTANGENT_TESTED: "it is not linear in the cotangent: the backward tests, clips or rounds its numbers, where it "
    "must use those that the forward saved",
    Hypothesis.DRAWN_ANEW: "the same cotangent gives another one in each call: random numbers are drawn anew in the backward, "
    "such as a mask of dropout, where those of the forward must be kept",
    Hypothesis.MASK_LEFT_OUT: "the cotangent passes where the value does not depend on the array: the mask of an activation, "
    "a dropout or a clipping is left out ({size} of {total} elements of the result)",
    Hypothesis.MASK_LEFT_OUT_AT: "the cotangent passes where the result is {amount:g} and does not depend on the array: the "
    "mask of an activation (ReLU, clipping) is left out ({size} of {total} elements of the result)",
    Hypothesis.MASK_OF_RESULT_INVERTED: "the mask of an activation is inverted: the cotangent passes where the value does not "
    "depend on the array, and does not where it does",
    Hypothesis.OTHER_MASK_OF_RESULT: "the cotangent is masked by another mask than the value, as one of the input, of another "
    "call or comparison: {size} elements of the result that depend on the array are left out, and {total} that do not are not",
    Hypothesis.RESULTS_LEFT_OUT: "{size} of {total} elements of the cotangent are left out, and the others are right: masked, "
    "or not in the range of a loop",
    Hypothesis.SLOPE_OF_RESULT: "the cotangent where the result is {mode} counts {factor}: the slope of an activation (leaky "
    "ReLU) is wrong or left out",
    Hypothesis.SLOPE_LEFT_OUT: "the derivative of the activation {function}, {mode} of its result y, is left out",
    Hypothesis.SLOPE_OF_ARGUMENT: "the derivative of the activation {function}, {mode} of its result y, is computed from its "
    "argument: the values before the activation are saved in place of those after it",
    Hypothesis.SLOPE_AT_RESULT: "the derivative of the activation {function} is taken at its result, where it must be taken at "
    "its argument: the function is applied twice",
    Hypothesis.SLOPE_TWICE: "the derivative of the activation {function}, {mode} of its result y, is multiplied twice",
    Hypothesis.FACTORS_OF_RESULTS: "each element of the cotangent is multiplied by a number of its own, {range}: the "
    "derivative of an activation or a gate is left out or wrong, or is taken at another value (before or after the activation)",
}

REMEDIES: dict[Hypothesis, str] = {
    Hypothesis.AT_FIRST_SLICE: "index it by the loop's own variable, not by 0",
    Hypothesis.AT_MISREAD: "transpose the array to the other layout, which a reshape does not",
    Hypothesis.AT_ROLLED: "compare the index of that axis with the forward's",
    Hypothesis.SUMMED_OVER_AXES: "sum over the axes that the array does not have, and no others",
    Hypothesis.AVERAGED_OVER_AXES: "keep the axes that the array has",
    Hypothesis.AT_EARLIER: "keep what the backward needs in the cache of its own call",
    Hypothesis.OF_OTHER_ARRAY: "return the gradients in the order of the arguments",
    Hypothesis.ROUNDED_TO_INTEGERS: "divide with /, and keep floating-point numbers",
    Hypothesis.APPLIED_AGAIN: "apply the transpose: np.rot90(g, -k), np.roll(g, -s), np.argsort(axes), a sum from the end",
    Hypothesis.DIAGONAL_ALONE: "add the terms of the other elements: of a softmax y * (g - (g * y).sum(-1, keepdims=True))",
    Hypothesis.MASK_INVERTED: "multiply the cotangent by the mask of the forward, not by its complement",
    Hypothesis.OTHER_MASK: "keep the mask of the forward, and multiply the cotangent by it",
    Hypothesis.MASKED_TOO_MUCH: "look for a mask, a comparison or a stop_gradient that the forward does not have",
    Hypothesis.FACTOR_OF_SIGN: "use the slope of the forward once",
    Hypothesis.FACTORS_OF_ELEMENTS: "multiply by every factor of the chain rule, once",
    Hypothesis.TERMS_LEFT_OUT: "sum over everything that the array is broadcast to, or read by",
    Hypothesis.COTANGENT_ELSEWHERE: "keep the index of the forward, and add the cotangent there",
    Hypothesis.COTANGENT_SPREAD: "add the cotangent at the index of the forward alone",
    Hypothesis.COTANGENT_REORDERED: "undo reshapes and transposes of the forward in reverse",
    Hypothesis.RESULT_REORDERED: "undo reshapes and transposes of the forward in reverse",
    Hypothesis.COTANGENT_TESTED: "test what the forward saved, not the cotangent",
    Hypothesis.DRAWN_ANEW: "return the mask of the forward in its cache",
    Hypothesis.MASK_LEFT_OUT: "multiply the cotangent by the mask of the forward first, for this array too",
    Hypothesis.MASK_LEFT_OUT_AT: "multiply the cotangent by the mask of the forward first, for this array too",
    Hypothesis.MASK_OF_RESULT_INVERTED: "multiply the cotangent by the mask of the forward, not by its complement",
    Hypothesis.OTHER_MASK_OF_RESULT: "take the mask of the values before the activation, and keep it",
    Hypothesis.RESULTS_LEFT_OUT: "look for a mask or a range that the forward does not have",
    Hypothesis.SLOPE_OF_RESULT: "multiply the cotangent by the slope of the forward once",
    Hypothesis.SLOPE_LEFT_OUT: "multiply the cotangent by it first, for this array too",
    Hypothesis.SLOPE_OF_ARGUMENT: "save the result of the activation, and use it in that formula",
    Hypothesis.SLOPE_AT_RESULT: "save the values before the activation",
    Hypothesis.SLOPE_TWICE: "multiply the cotangent by it once",
    Hypothesis.FACTORS_OF_RESULTS: "multiply the cotangent by the derivative of the activation at its argument, once",
}
