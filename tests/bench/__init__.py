"""`make bench`: what hamkor costs, each figure beside what the machine allows and what others reach in the same run.

    __main__   the command, and which rows there are          table     rows, medians, printing, JSON
    local      append, admission, audit, commands, memory     limits    libsodium and LMDB alone
    network    sync, incremental, idle, many logs, gossip     pump      the bare stream and the bare flood
    growth     the same work at a tenth and ten times         peers     hypercore, ssb-db2, OrbitDB, git
    pair       two nodes that meet and part                   wire      what the kernel counts
    work       the records
"""
