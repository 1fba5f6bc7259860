"""Checks whether a convolution is right, and if not, says what is wrong.

Oracles that know nothing of the kernels, bounds instead of tolerances, cases with the reason they are there.

`triconv.check` compares a function with a convolution of triconv: its value, every VJP, the JVP, second order, `vmap`, `jit`,
whether two runs give the same bits, whether arrays times powers of 2 give results times that, and how far a NaN or an infinity
spreads. Then it asks as training does: with arrays of other strides, with the same arrays again, with other numbers in them, in
memory that was used before, with data of one sign, zeros or ones, in evaluation mode; and it looks which settings of the
process a call leaves changed. It takes

- JAX functions (`custom_vjp`, `custom_jvp`, Pallas kernels), and modules of flax and equinox,
- torch functions, modules with their own weights and the hooks of these, and autograd functions (the class, or its `apply`);
  where a module computes its kernel, as weight norm does, that is its kernel, and `triconv.gradcheck` asks for more,
- NumPy functions with their derivatives: a pair ``(forward, backward)`` whose forward may return ``(y, cache)``, or
  `triconv.Rules`,
- layer objects with a forward and a backward. Their parameters are found by changing them, their gradients in what the
  backward returns, in the attributes that it changes, or in the update that it makes. A layer also runs several steps in
  turn: it may assign its gradients or add them up, and takes nothing else over from the step before.

It is compared with an operator of triconv, with any function of the same arrays, or, in `triconv.gradcheck` and where `like` is
left out, with its own values. Further arguments are `args=` and `kwargs=`, more geometries `sweep=True`, sizes that break
kernels ``sizes="stress"``, departures that are
meant ``meant=("batch averaged",)``.

Gradients of complex arrays are the plain transpose in JAX, and conjugated in torch. In NumPy either is right, the same for all.

No tolerance has to be tuned. On integers every right algorithm agrees bit for bit; on random data the difference stays within
a proved bound. The verdict "imprecise" is for a result that is right with fewer bits than its dtype has, as with TF32, and
for results of half width whose sums have fewer bits than those of float32.

Small results are compared with loops over the definition, large ones in random combinations modulo primes, with a probability
of a miss that the report says. So checking a layer of (8, 64, 56, 56) takes about 10 seconds beside its own calls. Second order
is checked for real dtypes only.

An example
----------
The backward of this convolution averages over the batch:

>>> import jax, triconv
>>> @jax.custom_vjp
... def conv(x, w):
...     return jax.lax.conv(x, w, (2, 2), "VALID")
>>> def forward(x, w):
...     return conv(x, w), (x, w)
>>> def backward(saved, g):
...     x, w = saved
...     gx, gw = jax.vjp(lambda x, w: jax.lax.conv(x, w, (2, 2), "VALID"), x, w)[1](g)
...     return gx, gw / x.shape[0]
>>> conv.defvjp(forward, backward)
>>> report = triconv.check(conv, triconv.conv2d, (2, 1, 4, 4), (2, 1, 2, 2), stride=2)
>>> print(report.summary)
wrong: conv, VJP of w: it is the mean over the batch of 2, where the derivative of a sum is the sum (2 is also ...
>>> for row in report.rows:
...     print(f"{row.what:<52} {row.verdict:<11} {row.how:<10} {row.cause}".rstrip())
value                                                right       exact
run to run                                           right       exact
value under jit                                      right       exact
vmap, sample 0                                       right       exact
vmap, sample 1                                       right       exact
VJP of x                                             right       exact
VJP of w                                             wrong       exact      batch averaged
value with a VJP                                     right       exact
JVP                                                  unsupported
value with a JVP                                     unsupported
second order of x (reverse over reverse)             wrong       exact      constant factor
second order of w (reverse over reverse)             right       exact
second order of x (forward over reverse)             right       exact
second order of w (forward over reverse)             wrong       exact      batch averaged
second order of the cotangent (reverse over reverse) wrong       exact      parts weighted
negated and scaled                                   right       exact
a NaN in each array                                  right       not finite
an infinity in each array                            right       not finite
memory and earlier calls                             right       exact
two threads at once                                  right       exact
data of one sign or number                           right       exact
derivatives by some arrays alone                     right       exact
vmap, other axes                                     right       exact

The report ends with the smallest program that shows the fault, without triconv:

>>> print(report.counterexample)
# conv against the definition of conv2d(stride=2): VJP of w
import numpy as np
import jax, jax.numpy as jnp
...
x = jnp.asarray([[[[2]]], [[[3]]]], jnp.float32)
w = jnp.asarray([[[[-3]]]], jnp.float32)
g = jnp.asarray([[[[-1]]], [[[3]]]], jnp.float32)
found = jax.vjp(f, x, w)[1](g)[1]
expected = np.asarray([[[[7]]]])
print(found)
print(expected)
assert np.shape(found) == expected.shape and np.allclose(np.asarray(found), expected)

``print(report)`` shows all of it: each row with its error over the bound and a sentence, the first wrong element with the taps
that meet there, whether lax and torch agree with the definition, the program, the versions and the seed.

From the shell
--------------
With the function in a file ``mine.py``::

    triconv check mine.py:conv --like conv2d --shape 2,1,4,4 --shape 2,1,2,2 --stride 2 --html report.html
    triconv check layers.py:conv_forward,conv_backward --like conv2d --shape 2,3,8,8 --shape 4,3,3,3 --args '{"stride": 1}'
    triconv check "layers.py:Conv(3, 4, 3)" --like conv2d --shape 2,3,8,8
    triconv gradcheck layers.py:relu_forward,relu_backward --shape 3,4

What follows the colon is any expression. Options may stand in a pyproject.toml beside the file::

    [tool.triconv]
    like = "conv2d"
    shape = [[2, 3, 8, 8], [4, 3, 3, 3]]

    [tool.triconv.targets."layers.py:conv_forward,conv_backward"]
    args = { stride = 1 }

With ``--isolate`` the target runs in a process of its own, see `triconv.checking.isolation`. Many targets stand in a manifest,
see `triconv.cli.manifest`; a convolution in another language is checked by its results, see `triconv.checking.vectors`::

    triconv check --manifest problems.toml --jobs 4 --json out.json --junit out.xml
    triconv vectors --like conv2d --shape 2,3,8,8 --shape 4,3,3,3 --out case.npz
    triconv check --results case_out.npz

The exit status is 0 for right, 1 for wrong or imprecise, and 2 if the function could not be checked. The last lines printed
are those of the summary. With ``--mesh`` and ``--spec`` the arrays are sharded over devices; see `triconv.jax`.

In a test suite
---------------
The package comes with a pytest fixture, `triconv_check`. Unless the verdict is "right", the test fails with the report::

    def test_my_convolution(triconv_check):
        triconv_check(conv, triconv.conv2d, (2, 1, 4, 4), (2, 1, 2, 2), stride=2)

The self-check
--------------
``triconv check`` without a function checks triconv itself, on every installed library. It compares 47 named geometries, each
with the reason why it is in the list, 20 layers of real networks at reduced size, and the examples of the teaching notebook.
``--full`` shows every case. With all libraries it takes 30 seconds of processor time, most of which XLA compiles; it prints::

    triconv 0.1.0 checks itself: 70 cases, each forward, input VJP and weight VJP

     library              loops   adjoint       lax     torch   error/bound
     ──────────────────────────────────────────────────────────────────────
     numpy              205/205   201/201   198/198   180/180          0.33
     jax                205/205   201/201   198/198   180/180          0.33
     jax.jit            205/205   201/201   198/198   180/180          0.33
     torch              205/205   201/201   198/198   180/180          0.32
     array-api-strict   205/205   201/201   198/198   180/180          0.33

    loops: on integers, equal to loops by definition; else within the bound.
    adjoint: <g, y> = <gx, x> = <gw, w>, exactly.
    lax: within the bound of jax.vjp of lax.conv_general_dilated.
    torch: within the bound of torch.autograd.
    error/bound: worst |error| over 2 (n + 1) u conv(|x|, |w|), by which two
    rounded sums of n terms may differ; up to 1 it is rounding, by proof
    (Jeannerod and Rump 2013).
    seed 0, ... s, Python 3.11.7, Linux x86_64
    right: triconv 0.1.0 on numpy 2.4.6, jax 0.10.2, torch 2.13.0+cpu,
    array-api-strict 2.6.1: 1,025 results, 3,920 comparisons

It also names a framework's own gradient that is out of bounds against the definition, and does not use it as an oracle.

`triconv.check` itself is tested on 58 broken convolutions, whose mistake it names, and on 21 unusual right ones (FFT, Winograd,
unfold, bfloat16, ...) and the frameworks' own, for which it must raise no alarm; see ``tests/mistakes.py``. A convolution in
loops, with a backward by hand, is checked with 99 mistakes in twelve geometries; see ``tests/mistakes_of_backwards.py``.
"""
