"""Optimizers against `torch.optim`: the rules of `optimizer_rules`, which the experiments are held to, are PyTorch's."""

import numpy as np
import optimizer_rules as rules
import pytest

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("key", rules.RULES, ids=" ".join)
def test_a_rule_is_pytorchs(key: tuple[str, str, str]) -> None:
    rule = rules.RULES[key]
    params = {name: torch.tensor(value, requires_grad=True) for name, value in rules.start(rule).items()}
    groups = [{"params": [p], **({} if name in rule.decayed else {"weight_decay": 0.0})} for name, p in params.items()]
    optimizer = getattr(torch.optim, rule.name)(groups, lr=1.0, **rule.options)
    for step, (_, grads, expected) in enumerate(rules.moves(rule)):
        before = {name: p.detach().clone() for name, p in params.items()}
        for group in optimizer.param_groups:
            group["lr"] = rules.rate(rule, step)
        for name, p in params.items():
            p.grad = torch.tensor(grads[name])
        optimizer.step()
        with torch.no_grad():
            for name, p in params.items():
                if rule.limit is not None:
                    p.clamp_(-rule.limit, rule.limit)
                np.testing.assert_allclose((p - before[name]).numpy(), expected[name], rtol=1e-9, atol=1e-15)
