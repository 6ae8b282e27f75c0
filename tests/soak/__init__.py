"""`make soak`: real nodes over real sockets for a given time, with everything going wrong that a machine can do.

    plan.py      what goes wrong, drawn from the seed; figures; what is left of a killed run. Pure
    net.py       the network: namespaces with delay, jitter and loss, or loopback
    relay.py     delay and loss for kernels without netem: a process between two ends of a cable
    officers.py  those who write all the time, by their marks
    run.py       the run: faults, the two crimes, what must hold at the end

    python -m tests.soak [--seconds N] [--nodes N] [--seed N] [--no-netem]

One seed draws the same faults, links, officers and reports again. When a process gets its turn is the machine's
business: a run repeats what is done to the nodes, not what they make of it to the millisecond.
"""
