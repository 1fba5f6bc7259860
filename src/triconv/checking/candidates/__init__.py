"""Whatever a user wrote, as something that can be asked: functions, pairs, layers, modules, in this process or in another.

`candidate` says what may be asked, and `candidates` wraps whatever was handed in; `jax_candidate`, `torch_candidate`, `pairs`,
`layers` and `modules` are its kinds. `isolated_candidate` is one in a process of its own (`candidate_process`,
`candidate_guard`, and `isolated` at the other end).
"""
