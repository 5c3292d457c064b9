"""Programs of high-performance computing that end with a result. Each is moved while it runs, none, once or several
times, and its result must be that of a run that was not moved: to the last bit where the program computes the same way
each time, else by its own checks.

A program has PARAMETERS, memory_mib(parameters), processes(parameters), files(parameters) (name: content, in the
container's /data), rootfs(), command(parameters), and result(text), the part of its output that must be the same each
time; WorkloadFailed if the program itself finds something wrong in it. One that is more than a container has start(lab,
node, directory, parameters) in place of rootfs and command: it returns the container that is to be moved, with the
program at work; OTHERS are the names of those that stay where they are.
"""

import json
import pathlib
import re
import shutil
import time

from tests.support import container as containers
from tests.support.paths import workload

from . import hpcc_cluster
from .workloads import NAME, WorkloadFailed, fresh_address, remove_everywhere, rootfs, shared_directory

POLL_S = 0.02
# Where the packages have them: the links to them are made by maintainer scripts.
_LIBRARIES = "LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/blas:/usr/lib/x86_64-linux-gnu/lapack"

# Open MPI in one container, as root, over shared memory; no daemon on another host, no ssh.
_MPI = ("export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm=isolated OMPI_MCA_btl=self,vader "
        "OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mtl=^psm,psm2,ofi OMPI_MCA_pml=ob1 "
        "OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=1 HOME=/tmp "
        f"{_LIBRARIES}; "
        "mpirun.openmpi -np {ranks} {program} 2>/tmp/errors")


class RunningProgram:
    """A program in a container, or several; what it prints is in a directory on a storage that both hosts see."""

    def __init__(self, lab, node, program, parameters):
        self.lab = lab
        self._program = program
        self._directory = shared_directory()
        self._names = [NAME, *getattr(program, "OTHERS", [])]
        try:
            for name, content in program.files(parameters).items():
                (self._directory / name).write_bytes(content)
                (self._directory / name).chmod(0o755)
            start = getattr(program, "start", self._start_alone)
            self.container = start(lab, node, self._directory, parameters)
        except BaseException:
            self.close()
            raise
        self.began = time.monotonic()

    def _start_alone(self, lab, node, directory, parameters):
        # The status last, by a rename: once it is there, so is the output.
        script = (f"cd /tmp; ({self._program.command(parameters)}) >/tmp/output; echo $? >/data/status.new; "
                  "cp /tmp/output /data/output; mv /data/status.new /data/status")
        return containers.start(lab, node, NAME, fresh_address(), ["/bin/sh", "-c", script], rootfs=self._program.rootfs(),
                                options=["--bind", f"{directory}:/data"], output=False)

    @property
    def ended(self):
        return (self._directory / "status").exists()

    def await_end(self, until_s):
        """Until it has ended or the time, by time.monotonic(), has come; whether it has ended. It cannot tell us."""
        while not self.ended and time.monotonic() < until_s:
            time.sleep(POLL_S)
        return self.ended

    def result(self):
        status = (self._directory / "status").read_text().strip()
        text = (self._directory / "output").read_text(errors="replace")
        if status != "0":
            raise WorkloadFailed(f"the program ended with status {status}: {text.strip()[-300:]}")
        return self._program.result(text)

    def close(self):
        remove_everywhere(self.lab, *self._names)
        shutil.rmtree(self._directory, ignore_errors=True)


class _Solver:
    """A program of tests/workloads that prints one object and is static."""

    PARAMETERS = {"mib": 64, "threads": 2, "steps": 400}
    PROGRAM = STEPS = None

    @staticmethod
    def memory_mib(parameters):
        return parameters["mib"]

    @staticmethod
    def processes(parameters):
        return parameters["threads"]

    @staticmethod
    def rootfs():
        return containers.busybox_rootfs()

    @classmethod
    def files(cls, parameters):
        return {cls.PROGRAM: pathlib.Path(workload(cls.PROGRAM)).read_bytes()}

    @classmethod
    def command(cls, parameters):
        return (f"OMP_NUM_THREADS={parameters['threads']} /data/{cls.PROGRAM} --mib {parameters['mib']} "
                f"--{cls.STEPS} {parameters['steps']}")

    @staticmethod
    def result(text):
        found = json.loads(text)
        if not found["ok"]:
            raise WorkloadFailed(f"the residual is wrong: {text.strip()}")
        return text.strip()


class Stencil(_Solver):
    """Jacobi's five-point stencil with OpenMP (tests/workloads/stencil.cc)."""

    PROGRAM, STEPS = "stencil", "sweeps"


class ConjugateGradient(_Solver):
    """Conjugate gradients with OpenMP (tests/workloads/conjugate_gradient.cc)."""

    PROGRAM, STEPS = "conjugate_gradient", "iterations"


_HPL_INPUT = """HPLinpack benchmark input file
godwit
HPL.out      output file name
8            device out
1            number of problem sizes
{size}       N
1            number of NBs
80           NBs
0            process mapping
1            number of grids
1            Ps
{ranks}      Qs
16.0         threshold
1            number of panel factorizations
2            PFACTs
1            number of stopping criteria
4            NBMINs
1            number of panels in recursion
2            NDIVs
1            number of recursive factorizations
1            RFACTs
1            number of broadcasts
1            BCASTs
1            number of lookahead depths
1            DEPTHs
2            SWAP
64           swapping threshold
0            L1
0            U
1            equilibration
8            alignment
##### separator
0            additional sizes for PTRANS
1200         values of N
0            additional blocking sizes for PTRANS
40           values of NB
"""


class Hpcc:
    """HPC Challenge: HPL, DGEMM, STREAM, PTRANS, RandomAccess, FFT and the network between the ranks, in one container."""

    PARAMETERS = {"ranks": 2, "size": 1500}

    @staticmethod
    def memory_mib(parameters):
        return 4 * parameters["size"] ** 2 * 8 // 1048576 + 64 * parameters["ranks"]

    @staticmethod
    def processes(parameters):
        return parameters["ranks"]

    @staticmethod
    def rootfs():
        return rootfs("hpcc")

    @staticmethod
    def files(parameters):
        return {"hpccinf.txt": _HPL_INPUT.format(**parameters).encode()}

    @staticmethod
    def command(parameters):
        run = _MPI.format(ranks=parameters["ranks"], program="hpcc")
        return f"cp /data/hpccinf.txt .; {run} && cat hpccoutf.txt"

    @staticmethod
    def result(text):
        """Its times differ; its checks may not: each residual below its threshold, and Success at the end."""
        if "Success=1" not in text or "FAILED" in text or not re.search(r"\bPASSED\b", text):
            raise WorkloadFailed("hpcc says it failed: " + "; ".join(re.findall(r".*FAILED.*", text)[:3]))
        errors = re.findall(r"Found (\d+) errors in \d+ locations", text)
        if any(int(count) for count in errors):
            raise WorkloadFailed(f"hpcc: RandomAccess found {max(map(int, errors))} errors")
        return "Success=1"


_MELT = """units lj
atom_style atomic
lattice fcc 0.8442
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287 loop geom
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
neighbor 0.3 bin
neigh_modify every 20 delay 0 check no
fix 1 all nve
thermo_modify format float %20.15g
thermo 20
run {steps}
"""


class Lammps:
    """LAMMPS, its Lennard-Jones melt, with MPI; the energies it prints must be those of a run that was not moved."""

    PARAMETERS = {"ranks": 2, "cells": 16, "steps": 300}

    @staticmethod
    def memory_mib(parameters):
        return parameters["cells"] ** 3 * 4 // 1024 + 80 * parameters["ranks"]

    @staticmethod
    def processes(parameters):
        return parameters["ranks"]

    @staticmethod
    def rootfs():
        return rootfs("lammps")

    @staticmethod
    def files(parameters):
        return {"in.melt": _MELT.format(**parameters).encode()}

    @staticmethod
    def command(parameters):
        return _MPI.format(ranks=parameters["ranks"], program="lmp -in /data/in.melt -log none")

    @staticmethod
    def result(text):
        energies = re.search(r"^ *Step .*?(?=^Loop time)", text, re.MULTILINE | re.DOTALL)
        if not energies or "ERROR" in text:
            raise WorkloadFailed(f"LAMMPS did not come to its end: {text.strip()[-200:]}")
        return "\n".join(line.strip() for line in energies[0].strip().splitlines())


# Water as the package has it, in Debian's force field; velocities from a seed. Written for a run of one rank that is the
# same each time.
_WATER = """#include "oplsaa.ff/forcefield.itp"
#include "oplsaa.ff/spce.itp"
[ system ]
water
[ molecules ]
"""
_BOX_NM = 1.86206  # of spc216.gro: whole multiples of it have no seam
_MDP = """integrator = md
dt = 0.002
nsteps = {steps}
nstxout = {steps}
nstvout = {steps}
nstenergy = 50
nstlog = 50
nstcalcenergy = 10
cutoff-scheme = Verlet
coulombtype = PME
rcoulomb = 0.8
rvdw = 0.8
constraints = h-bonds
tcoupl = v-rescale
tc-grps = System
tau-t = 0.1
ref-t = 300
gen-vel = yes
gen-temp = 300
gen-seed = 87287
ld-seed = 87287
"""


class Gromacs:
    """GROMACS: a box of SPC/E water, made by its own tools from the package's spc216.gro, with particle-mesh Ewald in
    OpenMP threads. With -reprod the positions at the end and the energies must be those of a run that was not moved."""

    PARAMETERS = {"threads": 2, "boxes": 1, "steps": 1000}

    @staticmethod
    def memory_mib(parameters):
        return 128 + parameters["boxes"] ** 3

    @staticmethod
    def processes(parameters):
        return parameters["threads"]

    @staticmethod
    def rootfs():
        return rootfs("gromacs")

    @staticmethod
    def files(parameters):
        return {"water.top": _WATER.encode(), "run.mdp": _MDP.format(**parameters).encode()}

    @staticmethod
    def command(parameters):
        """solvate adds the number of molecules to the topology. No signal handler, no restart file, no tuning by time."""
        box = " ".join([f"{parameters['boxes'] * _BOX_NM:.5f}"] * 3)
        return (f"export GMX_MAXBACKUP=-1 HOME=/tmp OMP_WAIT_POLICY=passive {_LIBRARIES}; cp /data/water.top .; "
                f"gmx -quiet solvate -cs spc216.gro -box {box} -p water.top -o water.gro >/tmp/log 2>&1 && "
                "gmx -quiet grompp -f /data/run.mdp -c water.gro -p water.top -o run.tpr >>/tmp/log 2>&1 && "
                f"gmx -quiet mdrun -s run.tpr -reprod -nt {parameters['threads']} -ntmpi 1 -pin off -cpt -1 -noconfout "
                "-o run.trr -e run.edr -g run.log >>/tmp/log 2>&1 && sha256sum run.trr && cat run.log || { cat /tmp/log; false; }")

    @staticmethod
    def result(text):
        """The digest of the last positions and velocities, and the energies of all steps that are logged."""
        energies = re.findall(r"^ +Energies \(kJ/mol\)\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
        digest = re.search(r"^([0-9a-f]{64})  run.trr", text, re.MULTILINE)
        if not digest or len(energies) < 2 or "Finished mdrun" not in text:
            raise WorkloadFailed(f"GROMACS did not come to its end: {text.strip()[-300:]}")
        return "\n".join([digest[1], *energies])


class HpccCluster:
    """HPC Challenge in three containers on both hosts, a rank in each, over TCP (hpcc_cluster.py); one moves."""

    PARAMETERS = {"size": 800}
    OTHERS = hpcc_cluster.OTHERS
    start = staticmethod(hpcc_cluster.start)
    result = staticmethod(Hpcc.result)

    @staticmethod
    def memory_mib(parameters):
        return Hpcc.memory_mib({"size": parameters["size"], "ranks": hpcc_cluster.RANKS})

    @staticmethod
    def files(parameters):
        return Hpcc.files({"size": parameters["size"], "ranks": hpcc_cluster.RANKS})


PROGRAMS = {"stencil": Stencil, "conjugate-gradient": ConjugateGradient, "hpcc": Hpcc, "hpcc-cluster": HpccCluster,
            "lammps": Lammps, "gromacs": Gromacs}
